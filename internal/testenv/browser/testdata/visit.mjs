// A person at headless Chromium: opens a page, signs in where it is asked to, types the
// device's code, confirms, and reads what the last page says. Told by TASK, a line of
// JSON; the last line printed is a JSON report.
import { chromium } from 'playwright-core'

const task = JSON.parse(process.env.TASK)
const context = await chromium.launchPersistentContext(task.profile, {
  executablePath: task.chromium,
  headless: true,
  args: ['--headless', '--no-sandbox', '--disable-gpu', '--disable-quic', '--no-first-run',
    '--disable-background-networking', '--disable-component-update', '--disable-sync'],
})
const page = context.pages()[0] ?? await context.newPage()
const visited = []
page.on('response', (r) => { if (r.request().isNavigationRequest()) visited.push({ url: r.url(), status: r.status(), headers: r.headers() }) })
page.setDefaultTimeout(task.timeout)

// seen is which forms were answered: a page that asks twice has refused us.
const seen = new Set()
const visible = async (selector) => (await page.locator(selector).count()) > 0 && await page.locator(selector).first().isVisible()
const submit = () => Promise.all([page.waitForNavigation(), page.locator('button[type=submit], input[type=submit], form button').first().click()])

async function answer() {
  if (await visible('input[name=password]')) {
    if (seen.has('password')) return false
    seen.add('password')
    await page.locator('input[name=username]').fill(task.username)
    await page.locator('input[name=password]').fill(task.password)
    await submit()
    return true
  }
  if (await visible('input[name=user_code]')) {
    if (seen.has('code')) return false
    seen.add('code')
    const field = page.locator('input[name=user_code]')
    if (!(await field.inputValue())) await field.fill(task.code)
    await submit()
    return true
  }
  const confirm = page.getByRole('button', { name: task.press })
  if (task.press && await confirm.count()) {
    if (seen.has('confirm')) return false
    seen.add('confirm')
    await Promise.all([page.waitForNavigation(), confirm.first().click()])
    return true
  }
  return false
}

try {
  await page.goto(task.url)
  while (await answer());
  await page.waitForLoadState()
  const text = await page.locator('body').innerText()
  console.log(JSON.stringify({ url: page.url(), title: await page.title(), text, visited, cookies: await context.cookies() }))
} finally {
  await context.close()
}

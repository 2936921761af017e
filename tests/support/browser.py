"""A browser without a screen: Debian's chromium, driven by its chromedriver through Selenium. What breaks the page's policy (CSP) is
noted from the first moment on."""
import shutil

try:
    from selenium import webdriver
    from selenium.webdriver.chrome.options import Options
    from selenium.webdriver.chrome.service import Service
except ImportError:
    webdriver = None

NOTES = """window.violations = [];
document.addEventListener('securitypolicyviolation', e => window.violations.push(e.violatedDirective + ' ' + e.blockedURI));
window.errors = [];
window.addEventListener('error', e => window.errors.push(String(e.message)));
window.addEventListener('unhandledrejection', e => window.errors.push(String(e.reason)));"""


def why_not():
    """Why there is no browser; None: there is."""
    if webdriver is None:
        return "python3-selenium is not here (packaging/install-deps.sh test)"
    if not shutil.which("chromium") or not shutil.which("chromedriver"):
        return "chromium and its driver are not here (packaging/install-deps.sh test)"
    return None


class Browser:
    def __init__(self, width=1280, height=900, colours="light", phone=False):
        options = Options()
        options.binary_location = shutil.which("chromium")
        for switch in ("--headless=new", "--no-sandbox", "--disable-gpu", "--hide-scrollbars", "--disable-dev-shm-usage", "--disable-background-networking"):
            options.add_argument(switch)
        options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
        self.driver = webdriver.Chrome(options=options, service=Service(shutil.which("chromedriver")))
        self.driver.set_page_load_timeout(20)
        self.take_notes()
        self.look_like(width, height, colours, phone)

    def take_notes(self):
        self.tell("Page.addScriptToEvaluateOnNewDocument", source=NOTES)

    def tell(self, what, **how):
        return self.driver.execute_cdp_cmd(what, how)

    def look_like(self, width, height, colours="light", phone=False):
        self.width, self.phone = width, phone
        self.tell("Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=phone)
        self.tell("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": colours}])

    def new_tab(self):
        """The one before stays; this one is looked at."""
        before = self.driver.current_window_handle
        self.driver.switch_to.new_window("tab")
        self.take_notes()
        return before

    def close_tab(self, which):
        here = self.driver.current_window_handle
        self.driver.switch_to.window(which)
        self.driver.close()
        self.driver.switch_to.window(here)

    def open(self, url):
        self.driver.get(url)

    def run(self, script, *values):
        return self.driver.execute_script(script, *values)

    def text(self, selector):
        return self.run("const e = document.querySelector(arguments[0]); return e ? e.innerText : ''", selector)

    def press(self, *keys):
        """Into whatever has the focus, as a keyboard does."""
        from selenium.webdriver.common.action_chains import ActionChains
        ActionChains(self.driver).send_keys(*keys).perform()

    def figures(self):
        """Series of /metrics that the page shows, and the value it has of each; a sum is "sum:FAMILY"."""
        return self.run("return [...document.querySelectorAll('[data-metric]')].map(e => [e.dataset.metric, Number(e.dataset.value)])")

    def complaints(self):
        """What broke the policy, what went wrong in the page, and what the console says is severe."""
        console = [line["message"] for line in self.driver.get_log("browser") if line["level"] == "SEVERE"]
        return self.run("return window.violations.concat(window.errors)") + console

    def unnamed(self):
        """What can be used and has no name that a screen reader could say."""
        self.tell("Accessibility.enable")
        used = {"button", "textbox", "searchbox", "combobox", "slider", "link", "checkbox"}
        nodes = self.tell("Accessibility.getFullAXTree")["nodes"]
        return [node["role"]["value"] for node in nodes if not node.get("ignored") and node.get("role", {}).get("value") in used and not node.get("name", {}).get("value", "").strip()]

    def picture(self, path, height_max=2400):
        height = min(height_max, self.run("return document.documentElement.scrollHeight"))
        self.tell("Emulation.setDeviceMetricsOverride", width=self.width, height=height, deviceScaleFactor=1, mobile=self.phone)
        self.run("return new Promise(done => requestAnimationFrame(() => setTimeout(done, 300)))")
        self.driver.save_screenshot(str(path))

    def close(self):
        self.driver.quit()

"""The console in Chromium: `console.py SCENARIO JSON`. What goes wrong is an exception.

JSON: `url` of the admin listener, and what the scenario needs. With `shots`, a directory, each page is kept there as a picture.
"""

import http.server
import json
import os
import re
import sys
import tempfile
import threading
from contextlib import contextmanager
from urllib.parse import urlsplit

from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import expect, sync_playwright

WIDE = {"width": 1280, "height": 900}
PHONE = {"width": 360, "height": 740}
# A busy machine.
PATIENCE = 60_000

given = json.loads(sys.argv[2])
URL = given["url"]


@contextmanager
def browser():
    with sync_playwright() as playwright, tempfile.TemporaryDirectory() as home:
        chromium = playwright.chromium.launch(
            executable_path="/usr/bin/chromium",
            args=["--no-sandbox", "--disable-dev-shm-usage", "--disable-gpu"],
            env={"HOME": home, "PATH": "/usr/bin:/bin", "TMPDIR": home},
            timeout=PATIENCE,
        )
        yield chromium
        chromium.close()


class Tab:
    """A page that notices what a browser complains of."""

    def __init__(self, chromium, **options):
        self.context = chromium.new_context(**{"viewport": WIDE, **options})
        self.context.set_default_timeout(PATIENCE)
        self.scripted = options.get("java_script_enabled", True)
        self.page = self.context.new_page()
        self.complaints = []
        self.page.on("console", lambda message: self.complaints.append(message.text))
        self.page.on("pageerror", lambda error: self.complaints.append(str(error)))
        self.page.on("dialog", lambda dialog: self.complaints.append(f"a dialog: {dialog.message}") or dialog.dismiss())

    def open(self, path):
        return self.page.goto(URL + path)

    def sign_in(self, token):
        self.open("/console/sign-in")
        self.page.get_by_label("Token").fill(token)
        self.page.get_by_role("button", name="Sign in").click()

    def press(self, name):
        self.page.get_by_role("button", name=name, exact=True).click()

    def follow(self, name):
        self.page.get_by_role("link", name=name, exact=True).click()

    def says(self, text):
        expect(self.page.locator("main")).to_contain_text(text, timeout=PATIENCE)

    def title(self, text):
        expect(self.page.locator("h1")).to_have_text(text, timeout=PATIENCE)

    def look_up(self, serial):
        self.open("/console/look-up")
        self.page.get_by_label("Serial number, or certificate in PEM").fill(serial)
        self.press("Look up")

    def check(self, name):
        """Looks at the page that is shown: at both widths, and for people who use it by other means."""
        if not self.scripted:
            return
        for width, viewport in [("wide", WIDE), ("phone", PHONE)]:
            self.page.set_viewport_size(viewport)
            over = self.page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth")
            assert over <= 0, f"{name} is {over} px wider than a screen of {viewport['width']}"
            wide = self.page.evaluate(
                "[...document.querySelectorAll('section')].filter((one) => one.scrollWidth > one.clientWidth).length"
            )
            assert wide == 0, f"{name}: something is wider than its frame on a screen of {viewport['width']}"
            self.shoot(f"{name}-{width}")
        self.page.set_viewport_size(WIDE)
        for scheme in ["light", "dark"]:
            self.page.emulate_media(color_scheme=scheme)
            results = Axe().run(self.page)
            assert results.violations_count == 0, f"{name}, {scheme}: {results.generate_report()}"
        self.shoot(f"{name}-dark")
        self.page.emulate_media(color_scheme="light")

    def shoot(self, name):
        if given.get("shots"):
            os.makedirs(given["shots"], exist_ok=True)
            self.page.screenshot(path=f"{given['shots']}/{name}.png", full_page=True)

    def has_nothing_to_complain_of(self, but=()):
        left = [one for one in self.complaints if not any(part in one for part in but)]
        assert not left, left


def flows(chromium, scripted):
    tab = Tab(chromium, java_script_enabled=scripted)
    # Nobody sees anything before signing in, and goes on to where they wanted to go.
    tab.open("/console/charts?range=1h")
    tab.title("Sign in")
    tab.check("sign-in")
    tab.page.get_by_label("Token").fill("0" * 32)
    tab.press("Sign in")
    tab.says("Nobody has this token")
    tab.page.get_by_label("Token").fill(given["token"])
    tab.press("Sign in")
    tab.title("Charts")
    assert tab.page.url.endswith("range=1h"), tab.page.url
    tab.check("charts")
    tab.follow("Overview")
    tab.title("Overview")
    tab.says("ready")
    tab.check("overview")
    tab.follow("Look up")
    tab.check("look-up")

    # A mistyped number.
    tab.look_up("xyz")
    tab.says("is no serial number")
    tab.look_up("ABCDEF")
    tab.says("not listed")
    tab.check("not-listed")

    # Revoked, with a confirmation before it.
    serial = given["revoke"]
    tab.look_up(f"0x{serial.lower()}")
    tab.follow(f"Open {given['issuer']}")
    tab.says("good")
    tab.says("Kept answers")
    tab.check("certificate")
    tab.follow("Revoke")
    tab.check("revoke")
    tab.page.get_by_label(re.compile("^keyCompromise")).check()
    tab.press("Continue")
    tab.says("It is for good")
    tab.check("confirm")
    tab.follow("Cancel")
    tab.says("good")
    tab.follow("Revoke")
    tab.page.get_by_label(re.compile("^keyCompromise")).check()
    tab.page.get_by_label("Revoked since").fill("yesterday")
    tab.press("Continue")
    tab.says("The time is")
    expect(tab.page.get_by_label(re.compile("^keyCompromise"))).to_be_checked()
    tab.page.get_by_label("Revoked since").fill("")
    tab.press("Continue")
    tab.press("Revoke")
    tab.says("It was revoked.")
    tab.says("keyCompromise")
    tab.says("It is revoked for good")
    tab.check("revoked")
    assert tab.page.get_by_role("link", name="Revoke").count() == 0

    # Found by the file of a certificate; held, released.
    tab.open("/console/look-up")
    tab.page.get_by_label("Or a file with the certificate, PEM or DER").set_input_files(given["hold_file"])
    tab.press("Look up")
    tab.says(given["hold"])
    tab.follow("Put on hold")
    tab.press("Continue")
    tab.says("It can be released again")
    tab.press("Put on hold")
    tab.says("It was put on hold.")
    tab.follow("Release from hold")
    tab.press("Continue")
    tab.press("Release from hold")
    tab.says("It was released from hold.")
    tab.says("good")
    # By what was pasted as well.
    tab.look_up(open(given["hold_file"]).read())
    tab.says(given["hold"])
    tab.follow("Put on hold")
    tab.press("Continue")
    tab.press("Put on hold")
    tab.says("It was put on hold.")

    # Added, and revoked although nobody lists it.
    tab.look_up(given["add"])
    tab.page.locator(f"a[href$='/{given['add']}']").first.click()
    tab.follow("Add")
    tab.press("Continue")
    tab.says("Nobody checks whether the CA has issued it")
    tab.press("Add")
    tab.says("It was added.")
    tab.look_up(given["unlisted"])
    tab.page.locator(f"a[href$='/{given['unlisted']}']").first.click()
    tab.follow("Revoke")
    tab.press("Continue")
    tab.says("so it will be refused")
    tab.press("Revoke")
    tab.says("Back to the certificate")
    tab.check("refused")
    tab.follow("Back to the certificate")
    tab.follow("Revoke")
    tab.page.get_by_label("Revoke it although no source and no push lists it").check()
    tab.press("Continue")
    tab.press("Revoke")
    tab.says("It was revoked.")

    # The journal has it all.
    tab.follow("Audit")
    tab.says("sign_in")
    expect(tab.page.locator("main")).not_to_contain_text("head")
    tab.check("audit")
    tab.press("Verify the whole journal")
    tab.says("in order")
    tab.says("fit each other and the key of this server")
    tab.check("verified")
    tab.page.get_by_label("Serial number").fill(serial)
    tab.press("Show")
    tab.says("keyCompromise")
    assert tab.page.locator("tbody tr").count() == 1
    tab.follow("Clocks")
    tab.says("makes time-stamps")
    tab.check("clocks")
    tab.open("/console/nothing-here")
    tab.says("There is nothing at this address")
    tab.check("not-found")

    # Signed out, neither the page nor the way back shows anything.
    tab.press("Sign out")
    tab.title("Sign in")
    assert tab.context.cookies() == [], tab.context.cookies()
    tab.open("/console/")
    tab.title("Sign in")
    # The browser tells of each response that is an error.
    tab.has_nothing_to_complain_of(but=["Failed to load resource"])
    tab.context.close()


def with_script():
    with browser() as chromium:
        flows(chromium, True)


def without_script():
    with browser() as chromium:
        flows(chromium, False)


FORGE = """async ([path, fields]) => {
  const answer = await fetch(path, { method: "POST", redirect: "manual",
    headers: { "content-type": "application/x-www-form-urlencoded" }, body: new URLSearchParams(fields) });
  return [answer.status, answer.type];
}"""


def roles():
    """A viewer of one tenant: no buttons, no other tenant, and no deed by a request of its own making."""
    with browser() as chromium:
        tab = Tab(chromium)
        tab.sign_in(given["viewer"])
        tab.title("Overview")
        names = tab.page.get_by_role("navigation").get_by_role("link").all_inner_texts()
        assert names == ["Overview", "Look up", "Clocks"], names
        tab.says(given["tenant"])
        expect(tab.page.locator("body")).not_to_contain_text(given["other_tenant"])
        tab.look_up(given["serial"])
        tab.follow(f"Open {given['issuer']}")
        tab.says("good")
        assert tab.page.locator("main a.button, main button").count() == 0
        form = tab.page.locator("input[name=form]").first.get_attribute("value")
        path = urlsplit(tab.page.url).path
        deed = {"form": form, "reason": "keyCompromise", "key": "k1"}
        for way in ["/revoke", "/revoke/confirm", "/hold"]:
            status, kind = tab.page.evaluate(FORGE, [path + way, deed])
            assert (status, kind) == (403, "basic"), (way, status, kind)
        assert tab.open(path + "/revoke").status == 403
        # What is of others is not there, as if nothing was.
        tab.look_up(given["other_serial"])
        tab.says("not listed")
        other = f"/console/certificates/{given['other_issuer']}/{given['other_serial']}"
        none = f"/console/certificates/{'0' * 64}/{given['other_serial']}"
        texts = []
        for path in [other, none]:
            assert tab.open(path).status == 404
            texts.append(tab.page.locator("main").inner_text().replace(given["other_issuer"], "").replace("0" * 64, ""))
        assert texts[0] == texts[1], texts
        for path in ["/console/charts", "/console/audit"]:
            assert tab.open(path).status in (403, 404), path
        tab.context.close()
        # The auditor of one tenant reads of this one alone, and hears whether the journal is in order.
        tab = Tab(chromium)
        tab.sign_in(given["auditor"])
        tab.follow("Audit")
        tab.says("push")
        tab.press("Verify the whole journal")
        tab.says("The whole journal is as it was written")
        cells = tab.page.locator("td[data-label=What]").all_inner_texts()
        assert cells and all(f"tenant: {given['tenant']}" in cell for cell in cells), cells
        assert tab.open(f"/console/audit?tenant={given['other_tenant']}").status == 404
        tab.says("there is no tenant")
        tab.context.close()


class Elsewhere(http.server.BaseHTTPRequestHandler):
    """A page of somebody else, which sends a form to the console as soon as it is opened."""

    def do_GET(self):
        fields = "".join(f'<input name="{name}" value="{value}">' for name, value in self.server.fields.items())
        page = f'<form id="f" method="post" action="{self.server.action}">{fields}</form><script>f.submit()</script>'
        self.send_response(200)
        self.send_header("content-type", "text/html")
        self.end_headers()
        self.wfile.write(page.encode())

    def log_message(self, *_):
        pass


def forged():
    """Forms of other pages, and of none, do nothing, although the browser sends the cookie along."""
    with browser() as chromium:
        tab = Tab(chromium)
        tab.sign_in(given["token"])
        tab.title("Overview")
        form = tab.page.locator("input[name=form]").first.get_attribute("value")
        path = given["path"]
        deed = {"form": form, "reason": "keyCompromise", "key": "k1"}
        # With another secret, or none, even the console's own page does nothing.
        for wrong in ["", "0" * 64, form[:-1]]:
            status, _ = tab.page.evaluate(FORGE, [path, {**deed, "form": wrong}])
            assert status == 403, status
        # Another port of the same address is the same site, so the cookie comes along; even with the secret it is refused.
        address = urlsplit(URL).hostname
        server = http.server.HTTPServer((address, 0), Elsewhere)
        server.fields, server.action = deed, URL + path
        threading.Thread(target=server.serve_forever, daemon=True).start()
        with tab.page.expect_response(lambda response: response.url == URL + path) as answered:
            tab.page.goto(f"http://{address}:{server.server_port}/")
        assert answered.value.status == 403, answered.value.status
        assert "ostia-console=" in answered.value.request.all_headers().get("cookie", ""), "the cookie was sent"
        server.shutdown()
        # No other page has it in a frame either.
        framed = answered.value.headers
        assert "frame-ancestors 'none'" in framed["content-security-policy"] and framed["x-frame-options"] == "DENY"
        # Nor does a script get at the cookie.
        tab.open("/console/")
        assert tab.page.evaluate("document.cookie") == ""
        tab.look_up(given["serial"])
        tab.says("good")
        # And now the console's own form with its own secret.
        status, kind = tab.page.evaluate(FORGE, [path, deed])
        assert kind == "opaqueredirect", (status, kind)
        tab.context.close()


def hostile():
    """Names that would be markup are text, and run nothing."""
    with browser() as chromium:
        tab = Tab(chromium)
        tab.sign_in(given["token"])
        tab.title("Overview")
        # As the names of certificates are written.
        tab.says("onerror")
        tab.check("hostile-overview")
        tab.open("/console/look-up")
        tab.page.get_by_label("Or a file with the certificate, PEM or DER").set_input_files(given["file"])
        tab.press("Look up")
        tab.says("No issuer that you may see has signed it")
        tab.says("onerror")
        tab.follow("Audit")
        tab.says(given["name"].split("'")[0])
        assert tab.page.locator("main img, main script, main [onload]").count() == 0
        tab.check("hostile-audit")
        tab.open("/console/audit?tenant=%3Cimg%20src%3Dx%20onerror%3Dalert(1)%3E%22%27")
        tab.says("No line fits")
        tab.open("/console/look-up?serial=%3Cscript%3Ealert(1)%3C/script%3E")
        tab.says("is no serial number")
        assert tab.page.evaluate("window.ran") is None
        tab.has_nothing_to_complain_of(but=["Failed to load resource"])
        # The policy would stop what escaping let through.
        tab.open("/console/")
        tab.page.evaluate("document.body.insertAdjacentHTML('beforeend', '<img src=x onerror=\"window.ran=1\">')")
        tab.page.wait_for_function("true")
        tab.page.evaluate("() => new Promise((done) => setTimeout(done, 500))")
        assert tab.page.evaluate("window.ran") is None
        assert any("Content Security Policy" in one for one in tab.complaints), tab.complaints
        tab.context.close()


def stays():
    """A session that a reload ends, which happens between two lines of standard output and input."""
    with browser() as chromium:
        tab = Tab(chromium)
        tab.sign_in(given["token"])
        tab.title("Overview")
        # The page refreshes itself, without being opened again.
        tab.page.evaluate("window.stays = 1")
        before = tab.page.locator("#refreshed").inner_text()
        expect(tab.page.locator("#refreshed")).not_to_have_text(before, timeout=PATIENCE)
        assert tab.page.evaluate("window.stays") == 1
        tab.has_nothing_to_complain_of()
        print("signed in", flush=True)
        sys.stdin.readline()
        expect(tab.page.locator("#refreshed")).to_contain_text("signed out", timeout=PATIENCE)
        tab.open("/console/look-up")
        tab.title("Sign in")
        tab.page.get_by_label("Token").fill(given["token"])
        tab.press("Sign in")
        tab.says("Nobody has this token")
        tab.page.get_by_label("Token").fill(given["new_token"])
        tab.press("Sign in")
        tab.title("Look up a certificate")
        tab.context.close()


def by_certificate():
    """Whoever shows a certificate that is known signs in by it; nobody else does, and no session goes without it."""

    def shown(name):
        pair = {"certPath": f"{given['dir']}/{name}.pem", "keyPath": f"{given['dir']}/{name}.key"}
        return {"client_certificates": [{"origin": URL, **pair}], "ignore_https_errors": True}

    with browser() as chromium:
        tab = Tab(chromium, **shown(given["name"]))
        tab.open("/console/look-up")
        tab.title("Sign in")
        tab.says(f"Your browser has shown the certificate of {given['name']}")
        tab.press(f"Sign in as {given['name']}")
        tab.title("Look up a certificate")
        tab.follow("Overview")
        tab.says("acme")
        cookies = tab.context.cookies()
        assert len(cookies) == 1 and cookies[0]["secure"] and cookies[0]["httpOnly"], cookies
        # With the cookie, and another certificate or none, nobody is signed in.
        for options in [shown(given["stranger"]), {"ignore_https_errors": True}]:
            other = Tab(chromium, **options)
            other.context.add_cookies(cookies)
            other.open("/console/")
            other.title("Sign in")
            expect(other.page.locator("main")).not_to_contain_text("By certificate")
            status, _ = other.page.evaluate(FORGE, ["/console/sign-in/certificate", {"next": "/console/"}])
            assert status == 401, status
            other.context.close()
        tab.context.close()


{
    "by_certificate": by_certificate,
    "with_script": with_script,
    "without_script": without_script,
    "roles": roles,
    "forged": forged,
    "hostile": hostile,
    "stays": stays,
}[sys.argv[1]]()

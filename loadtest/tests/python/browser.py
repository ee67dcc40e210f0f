"""Headless Chromium, driven over the DevTools protocol: one tab, and what it complains about."""

import asyncio
import base64
import contextlib
import itertools
import json
import re
import tempfile
import urllib.request

import websockets

PATIENCE_SECONDS = 60


class Tab:
    """One page: commands, what it has complained about, and what it has asked for."""

    def __init__(self, socket):
        self.socket = socket
        self.numbers = itertools.count(1)
        self.answers = {}
        self.complaints = []
        self.asked = set()
        self.reader = asyncio.create_task(self.read())

    async def read(self):
        with contextlib.suppress(websockets.ConnectionClosed):
            async for text in self.socket:
                self.note(json.loads(text))

    def note(self, event):
        given = event.get("params", {})
        match event.get("method"):
            case None:
                self.answers.pop(event["id"]).set_result(event)
            case "Runtime.exceptionThrown":
                self.complaints.append(str(given["exceptionDetails"]))
            case "Runtime.consoleAPICalled" if given["type"] in ("error", "warning", "assert"):
                self.complaints.append(str(given["args"]))
            case "Log.entryAdded" if given["entry"]["level"] in ("error", "warning"):
                self.complaints.append(f"{given['entry']['text']} {given['entry'].get('url')}")
            case "Network.requestWillBeSent":
                self.asked.add(given["request"]["url"])
            case "Network.webSocketCreated":
                self.asked.add(given["url"])

    async def command(self, method, **parameters):
        number = next(self.numbers)
        answer = self.answers[number] = asyncio.get_running_loop().create_future()
        await self.socket.send(json.dumps({"id": number, "method": method, "params": parameters}))
        answer = await asyncio.wait_for(answer, PATIENCE_SECONDS)
        assert "error" not in answer, (method, answer)
        return answer["result"]

    async def value(self, expression):
        result = await self.command(
            "Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True
        )
        assert "exceptionDetails" not in result, (expression, result)
        return result["result"].get("value")

    async def until(self, expression):
        """Looks again and again until the expression holds."""
        loop = asyncio.get_running_loop()
        deadline = loop.time() + PATIENCE_SECONDS
        while not await self.value(f"Boolean({expression})"):
            if loop.time() > deadline:
                text = await self.value("document.body.innerText")
                raise AssertionError(f"never: {expression}\n{text}\n{self.complaints}")
            await asyncio.sleep(0.05)

    async def open(self, address):
        for domain in ("Page", "Runtime", "Log", "Network"):
            await self.command(f"{domain}.enable")
        await self.command("Page.navigate", url=f"http://{address}/")
        await self.until("document.readyState === 'complete' && document.querySelector('.tile')")

    async def click(self, selector):
        await self.value(f"document.querySelector({json.dumps(selector)}).click()")

    async def type(self, selector, text):
        """With the keyboard, and Enter at the end."""
        await self.value(f"document.querySelector({json.dumps(selector)}).focus()")
        await self.command("Input.insertText", text=text)
        enter = {"key": "Enter", "code": "Enter", "text": "\r", "windowsVirtualKeyCode": 13}
        for kind in ("keyDown", "keyUp"):
            await self.command("Input.dispatchKeyEvent", type=kind, **enter)

    async def show_as(self, width, height, is_mobile, scheme):
        """A screen of this size, and whether it is `light` or `dark`."""
        screen = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": is_mobile}
        await self.command("Emulation.setDeviceMetricsOverride", **screen)
        features = [{"name": "prefers-color-scheme", "value": scheme}]
        await self.command("Emulation.setEmulatedMedia", features=features)

    async def screenshot(self, path):
        """The whole page, not only what the screen shows."""
        shot = await self.command("Page.captureScreenshot", captureBeyondViewport=True)
        with open(path, "wb") as file:
            file.write(base64.b64decode(shot["data"]))


class Browser:
    """A running Chromium."""

    def __init__(self, address):
        self.address = address

    @contextlib.asynccontextmanager
    async def tab(self):
        request = urllib.request.Request(f"http://{self.address}/json/new?about:blank", method="PUT")
        address = json.load(urllib.request.urlopen(request))["webSocketDebuggerUrl"]
        async with websockets.connect(address, max_size=None) as socket:
            yield Tab(socket)


@contextlib.asynccontextmanager
async def chromium(program):
    """Runs it on a profile of its own, which is removed with it."""
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as profile:
        process = await asyncio.create_subprocess_exec(
            *(program, "--headless=new", "--no-sandbox", "--disable-gpu", "--no-first-run"),
            *("--disable-dev-shm-usage", "--disable-background-networking"),
            *("--remote-debugging-port=0", f"--user-data-dir={profile}", "about:blank"),
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.DEVNULL,
            stderr=asyncio.subprocess.PIPE,
        )
        try:
            yield Browser(await asyncio.wait_for(listening(process.stderr), PATIENCE_SECONDS))
        finally:
            if process.returncode is None:
                process.kill()
            await process.wait()


async def listening(stderr):
    """The DevTools address, which Chromium says once."""
    said = []
    async for line in stderr:
        said.append(line.decode(errors="replace"))
        if found := re.search(r"listening on ws://([^/]+)/", said[-1]):
            return found.group(1)
    raise AssertionError("Chromium does not start:\n" + "".join(said))

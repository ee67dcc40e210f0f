"""The page on the admin port in a real browser.

Usage: page.py CHROMIUM ADMIN_HOST:PORT ASYNC_ADMIN_HOST:PORT SCREENSHOTS_FOLDER. The first server
acks when the disk has it, the second before. Exits 0 when all was as it should be.
"""

import asyncio
import json
import os
import re
import sys
import urllib.request

from browser import chromium

CHROMIUM, ADMIN, ASYNC_ADMIN, SCREENSHOTS = sys.argv[1:5]
PHONE, DESKTOP = (390, 844), (1280, 900)

# JSON with ids as numbers, and with what only looks like them in strings.
EXACT = r'''
  {"id":9223372036854775807, "ids":[1268242042090295001, -5], "12":{"srcId" : 7},
   "content":"\"id\":1268242042090295001, 12 \\", "float":1.5e3, "none":null, "true":true}
'''
EXACT_EXPECTED = {
    "id": "9223372036854775807",
    "ids": ["1268242042090295001", "-5"],
    "12": {"srcId": "7"},
    "content": '"id":1268242042090295001, 12 \\',
    "float": 1500,
    "none": None,
    "true": True,
}

# Texts whose contrast with what is behind them is below 4.5 to 1.
FAINT = """
  (() => {
    const canvas = document.createElement("canvas").getContext("2d", { willReadFrequently: true });
    const rgba = (color) => {
      canvas.clearRect(0, 0, 1, 1);
      canvas.fillStyle = color;
      canvas.fillRect(0, 0, 1, 1);
      return canvas.getImageData(0, 0, 1, 1).data;
    };
    const linear = (part) => part <= .04045 ? part / 12.92 : ((part + .055) / 1.055) ** 2.4;
    const light = (color) => [.2126, .7152, .0722]
      .reduce((sum, share, at) => sum + share * linear(rgba(color)[at] / 255), 0);
    const behind = (element) => {
      for (let at = element; at; at = at.parentElement) {
        const color = getComputedStyle(at).backgroundColor;
        if (rgba(color)[3] === 255) return color;
      }
      return "white";
    };
    const contrast = (one) => {
      const style = getComputedStyle(one);
      const own = light(one instanceof SVGElement ? style.fill : style.color);
      const back = light(behind(one));
      return (Math.max(own, back) + .05) / (Math.min(own, back) + .05);
    };
    const hasWords = (one) =>
      Array.from(one.childNodes).some((node) => node.nodeType === 3 && node.data.trim());
    return Array.from(document.querySelectorAll("body *:not(script, style, :disabled)"))
      .filter((one) => one.checkVisibility() && hasWords(one) && contrast(one) < 4.5)
      .map((one) => `${contrast(one).toFixed(2)}: ${one.textContent.slice(0, 30)}`);
  })()
"""


def expect_no_complaints(tab):
    assert not tab.complaints, tab.complaints
    hosts = {re.match(r"\w+:(//[^:/]+)?", url).group() for url in tab.asked}
    assert hosts <= {"http://127.0.0.1", "ws://127.0.0.1", "data:"}, hosts


async def look(tab, name, size, scheme):
    """Takes a screenshot; nothing may stick out or be hard to read."""
    await tab.show_as(*size, size == PHONE, scheme)
    width = await tab.value("document.documentElement.scrollWidth")
    assert width <= size[0], f"{name}: {width} wide"
    faint = await tab.value(FAINT)
    assert not faint, f"{name}: {faint}"
    await tab.screenshot(os.path.join(SCREENSHOTS, f"page-{name}-{scheme}.png"))


def total(name):
    """The figure of a tile, read as a person would."""
    place = f"document.querySelector('[data-figure={name}] .total')"
    return f"Number({place}.textContent.replace(/\\D/g, ''))"


def shown(side, kind, text):
    lines = f"[...document.querySelectorAll('#{side} li.{kind}')]"
    return f"{lines}.some((line) => line.firstChild.data === {json.dumps(text)})"


def status(side):
    return f"document.querySelector('#{side} .status').textContent"


def delivered(side, count):
    return f"document.querySelectorAll('#{side} li.own.delivered').length === {count}"


async def converse(tab):
    sent = await tab.value(total("messages_sent_total"))
    await tab.click("#both")
    for side in ("left", "right"):
        await tab.until(f"/^user \\d+, online$/.test({status(side)})")
    hello = 'typed left <b>"quoted"</b> 你好 🪿'
    await tab.type("#left .words", hello)
    await tab.until(shown("right", "other", hello))
    await tab.until(delivered("left", 1))
    await tab.type("#right .words", "typed right")
    await tab.until(shown("left", "other", "typed right"))
    await tab.until(delivered("right", 1))

    await tab.click("#right .toggle")
    await tab.until(f"{status('right')}.endsWith('offline')")
    for text in ("are you", "there?"):
        await tab.type("#left .words", text)
    await tab.until("document.querySelectorAll('#left li.own.acked').length === 2")
    assert not await tab.value(shown("right", "other", "there?"))
    await tab.click("#right .toggle")
    await tab.until(shown("right", "note", "2 waited: fetched and acked"))
    assert await tab.value(shown("right", "other", "there?"))
    await tab.until(delivered("left", 3))
    await tab.until(f"{total('messages_sent_total')} === {sent + 4}")
    await tab.until(f"{total('acks_received_total')} >= {sent + 4}")


async def look_at_lists(tab):
    await tab.click("#left .history")
    await tab.until("document.querySelectorAll('#left .answer tbody tr').length === 4")
    await tab.click("#right .chats")
    unread = "document.querySelector('#right .answer td:nth-child(2)')?.textContent"
    await tab.until(f"{unread} === '3'")
    await tab.click("#right .answer button")
    await tab.until(f"{unread} === '0'")


async def compare_ids(tab):
    """What the page shows is what the server has, digit by digit."""
    ports = json.load(urllib.request.urlopen(f"http://{ADMIN}/admin/ports"))
    user = int(await tab.value("left.user"))
    request = urllib.request.Request(
        f"http://{ADMIN.split(':')[0]}:{ports['http']}/im/message/user/get/page",
        data=json.dumps({"userId": user}).encode(),
    )
    stored = [str(message["id"]) for message in json.load(urllib.request.urlopen(request))]
    assert await tab.value("[...left.shown.keys()].reverse()") == stored, stored
    cells = "[...document.querySelectorAll('#left .answer td small')]"
    assert await tab.value(f"{cells}.map((cell) => cell.textContent)") == stored


async def check_names(tab):
    """Whatever can be used has a name for those who do not see it."""
    tree = await tab.command("Accessibility.getFullAXTree")
    word = lambda node, key: node.get(key, {}).get("value")
    roles = ("button", "textbox", "link", "image", "list")
    used = [node for node in tree["nodes"] if word(node, "role") in roles]
    unnamed = [node for node in used if not word(node, "name")]
    assert len(used) > 10 and not unnamed, unnamed


async def try_all(tab):
    await tab.open(ADMIN)
    await tab.until("document.querySelector('#state').textContent === 'state ready'")
    exact = await tab.value(f"parseExact({json.dumps(EXACT)})")
    assert exact == EXACT_EXPECTED, exact
    assert await tab.value("document.querySelector('#durability').className") == "badge"
    await converse(tab)
    await look_at_lists(tab)
    await compare_ids(tab)
    await check_names(tab)
    await tab.until("document.querySelector('#shards').textContent.includes('%')")
    for pair in ("0 to 1", "1 to 0"):
        await tab.until(f"picture.getAttribute('aria-label').includes('{pair}')")
    for span in ("ack", "delivery", "a round: away"):
        cells = "[...document.querySelectorAll('#spans td:first-child')]"
        await tab.until(f"{cells}.some((cell) => cell.textContent === '{span}')")
    ids = "[...document.querySelectorAll('#slow td:first-child')].map((cell) => cell.textContent)"
    await tab.until(f"[...left.shown.keys()].every((id) => {ids}.includes(id))")
    for name, size in [("phone", PHONE), ("desktop", DESKTOP)]:
        for scheme in ("light", "dark"):
            await look(tab, name, size, scheme)


async def see_red(tab):
    await tab.open(ASYNC_ADMIN)
    await tab.until("document.querySelector('#durability.bad')?.textContent === 'durability async'")
    await look(tab, "async", DESKTOP, "light")


async def main():
    os.makedirs(SCREENSHOTS, exist_ok=True)
    async with chromium(CHROMIUM) as browser:
        for story in (try_all, see_red):
            async with browser.tab() as tab:
                await story(tab)
                expect_no_complaints(tab)
    print("all was as it should be")


asyncio.run(main())

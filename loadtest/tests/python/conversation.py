"""Two people chat through the server: `websockets` for the frames, `http.client` for the calls.

Usage: conversation.py HTTP_HOST:PORT WS_HOST:PORT TENANT. Exits 0 when all was as it should be.
"""

import asyncio
import http.client
import json
import sys
import urllib.request

import websockets

HTTP, WS, TENANT = sys.argv[1:4]
FRAME_KEYS = (
    "msgType fromUserId toUserId teamId eventType content id timestamp chatType stateEnum isRead"
).split()


def call(path, body):
    """One call by urllib, which opens a connection each time."""
    request = urllib.request.Request(
        f"http://{HTTP}/im{path}",
        data=json.dumps(body).encode(),
        headers={"Content-Type": "application/json"},
    )
    with urllib.request.urlopen(request, timeout=20) as answer:
        text = answer.read().decode()
    return json.loads(text) if text else None


def register(name):
    return call("/user/register", {"company": TENANT, "app": "python", "thirdUserId": name})["userId"]


def calls_on_one_connection(users):
    connection = http.client.HTTPConnection(HTTP, timeout=20)
    ids = []
    for user in users * 5:
        for path, body in [("/message/get/id", {}), ("/user/chat/unread/count", {"userId": user})]:
            connection.request("POST", "/im" + path, json.dumps(body))
            answer = connection.getresponse()
            assert answer.status == 200, answer.status
            reply = json.load(answer)
            ids.extend([reply["id"]] if "id" in reply else [])
    assert ids == sorted(set(ids)), ids
    connection.request("POST", "/im/user/chat/list", json.dumps({"userId": "nobody"}))
    answer = connection.getresponse()
    refusal = json.load(answer)
    assert answer.status == 500 and refusal["code"] == 500 and "userId" in refusal["msg"], refusal
    connection.close()


async def connect(user):
    socket = await websockets.connect(f"ws://{WS}/ws")
    await socket.send(json.dumps({"msgType": "Auth", "fromUserId": user, "content": "{'token'}"}))
    await socket.send(json.dumps({"fromUserId": user, "msgType": "Heartbeat"}))
    return socket


async def receive(socket):
    frame = json.loads(await asyncio.wait_for(socket.recv(), 20))
    assert list(frame) == FRAME_KEYS, list(frame)
    return frame


async def say(socket, sender, recipient, content):
    source = call("/message/get/id", {})["id"]
    await socket.send(
        json.dumps(
            {
                "id": source,
                "fromUserId": sender,
                "toUserId": recipient,
                "chatType": "Single",
                "msgType": "Text",
                "content": content,
            },
            ensure_ascii=False,
        )
    )
    ack = await receive(socket)
    assert ack["msgType"] == "Ack" and ack["fromUserId"] == 1, ack
    assert json.loads(ack["content"]) == {"srcId": source}, ack
    return source


async def hear(socket, source, content):
    frame = await receive(socket)
    assert (frame["id"], frame["content"]) == (source, content), frame
    ack = {"id": source + 1, "chatType": "Single", "msgType": "Ack", "content": "{'srcId': %d}" % source}
    await socket.send(json.dumps(ack))


async def converse(anna, bo):
    first, second = await connect(anna), await connect(bo)
    # A ping is answered in order, so both are known to the server before anybody speaks.
    for socket in (first, second):
        await asyncio.wait_for(await socket.ping(), 20)
    for number in range(20):
        text = f"你好 {number} \U0001fabf \"quoted\""
        await hear(second, await say(first, anna, bo, text), text)
        await hear(first, await say(second, bo, anna, text + "!"), text + "!")
    await first.close()
    await second.close()

    absent = await connect(anna)
    left = await say(absent, anna, bo, "while you were away")
    offline = call("/message/offline", {"userId": bo})
    assert [message["id"] for message in offline] == [left], offline
    third = await connect(bo)
    event = await receive(third)
    assert event["eventType"] == "OfflineMessage" and "1" in event["content"], event
    await absent.close()
    await third.close()
    page = call("/message/user/get/page", {"userId": bo, "pageSize": 50})
    assert len(page) == 41 and page[0]["id"] == left, len(page)
    entry = call("/user/chat/list", {"userId": bo})[0]
    assert (entry["unReadCount"], entry["toUserId"]) == (21, anna), entry
    assert call("/user/chat/clear/unread", {"id": entry["id"]}) is None
    assert call("/user/chat/unread/count", {"userId": bo}) == {"count": 0}


def main():
    people = [register(f"person {number}") for number in range(6)]
    for anna, bo in zip(people[::2], people[1::2]):
        asyncio.run(converse(anna, bo))
    calls_on_one_connection(people)
    print("all was as it should be")


main()

// Two people who try the server, over its real ports.

const WIRE_LINES_MAX = 60;
const TICKS = { sent: "sent", acked: "✓ acked", delivered: "✓✓ delivered" };
const HISTORY_ROWS = 10;
const ports = fetch("/admin/ports").then((answer) => answer.json());
// Where users are served: at this host, by the ports that the server names.
const address = async (scheme) =>
  `${location.protocol.replace("http", scheme)}//${location.hostname}:${(await ports)[scheme]}`;

class Pane {
  constructor(side, name) {
    Object.assign(this, { root: find(side), user: null, socket: null, isOnline: false });
    // By message id: all that are shown, and own ones whose recipient has not acked them.
    Object.assign(this, { shown: new Map(), open: new Map() });
    this.root.append(find("pane").content.cloneNode(true));
    this.part("log").setAttribute("aria-label", `Conversation, ${side}`);
    this.part("name").value = name;
    const on = (part, event, work) => this.part(part).addEventListener(event, (happened) => {
      happened.preventDefault();
      this.attempt(work);
    });
    on("who", "submit", () => this.socket ? this.leave("") : this.connect());
    on("name", "change", () => this.forget());
    on("say", "submit", () => this.say());
    on("history", "click", () => this.history());
    on("chats", "click", () => this.chats());
    on("close", "click", () => this.list(null));
  }

  part(name) { return this.root.querySelector(`.${name}`); }

  // What fails is said in the conversation.
  async attempt(work) {
    try { await work(); } catch (error) { this.line("note", error.message); }
  }

  show(words) {
    const state = `user ${this.user}, ${this.isOnline ? "online" : "offline"}`;
    this.part("status").textContent = words || (this.user ? state : "not registered");
    this.part("toggle").textContent = this.socket ? "Go offline" : "Connect";
    this.part("name").disabled = this.socket !== null;
    this.part("send").disabled = !this.isOnline;
  }

  line(kind, words, below = "") {
    const line = make("li", { className: kind }, words, make("small", {}, below));
    this.part("log").append(line);
    this.part("log").scrollTop = this.part("log").scrollHeight;
    return line;
  }

  wire(words) {
    const place = this.part("wire");
    place.append(`${words}\n`);
    while (place.childNodes.length > WIRE_LINES_MAX) place.firstChild.remove();
    place.scrollTop = place.scrollHeight;
  }

  // A socket that has been left meanwhile is written nothing.
  write(frame) {
    if (!this.socket) return;
    const text = JSON.stringify(frame);
    this.wire(`> ${text}`);
    this.socket.send(text);
  }

  async call(path, body, say = (words) => this.wire(words)) {
    say(`POST ${path} ${JSON.stringify(body)}`);
    const answer = await fetch(await address("http") + path,
      { method: "POST", body: JSON.stringify(body) });
    const text = await answer.text();
    say(`${answer.status} ${text}`);
    if (!answer.ok) throw new Error(parseExact(text).msg);
    return text ? parseExact(text) : null;
  }

  // The same name is the same user, however often it is registered.
  async register() {
    const name = this.part("name").value.trim();
    const identity = { company: "anser", app: "try-out", thirdUserId: name, name };
    this.user ??= (await this.call("/im/user/register", identity)).userId;
    this.show();
    return this.user;
  }

  forget() {
    this.user = null;
    this.part("log").replaceChildren();
    this.shown.clear();
    this.open.clear();
    this.show();
  }

  async connect() {
    await this.register();
    const url = `${await address("ws")}/ws`;
    if (this.socket) return;
    const socket = this.socket = new WebSocket(url);
    socket.onopen = () =>
      this.write({ msgType: "Auth", fromUserId: this.user, content: "any", id: "1" });
    socket.onmessage = (event) => this.attempt(() => this.hear(event.data));
    socket.onclose = (event) =>
      socket === this.socket && this.leave(`closed: ${event.reason || event.code}`);
    this.show("connecting");
  }

  leave(words) {
    this.socket.close();
    Object.assign(this, { socket: null, isOnline: false });
    this.show(words);
  }

  async hear(text) {
    this.wire(`< ${text}`);
    const frame = parseExact(text);
    if (frame.msgType === "Ack") return this.acked(parseExact(frame.content).srcId);
    if (frame.msgType === "Error") throw new Error(parseExact(frame.content).msg);
    if (frame.eventType === "OfflineMessage") return this.fetchWaiting();
    if (frame.fromUserId !== this.user) this.acknowledge({ srcId: frame.id });
    this.receive(frame);
  }

  // The first ack is that of Auth.
  acked(id) {
    if (id === "1") this.isOnline = true;
    else if (this.open.has(id)) this.tick(id, "acked");
    this.show();
  }

  tick(id, state) {
    this.shown.get(id).className = `own ${state}`;
    this.shown.get(id).lastChild.textContent = TICKS[state];
  }

  acknowledge(ids) {
    this.write({ chatType: "Single", msgType: "Ack", content: JSON.stringify(ids) });
  }

  receive({ id, fromUserId, content }) {
    if (this.shown.has(id)) return;
    const isOwn = fromUserId === this.user;
    const below = isOwn ? "from elsewhere" : `from ${fromUserId}`;
    this.shown.set(id, this.line(isOwn ? "own" : "other", content, below));
  }

  async fetchWaiting() {
    const waiting = await this.call("/im/message/offline", { userId: this.user });
    waiting.forEach((message) => this.receive(message));
    if (waiting.length === 0) return;
    this.acknowledge({ upTo: waiting.at(-1).id });
    this.line("note", `${waiting.length} waited: fetched and acked`);
  }

  async say() {
    const content = this.part("words").value;
    this.part("words").value = "";
    const toUserId = await this.peer.register();
    const { id } = await this.call("/im/message/get/id", {});
    this.shown.set(id, this.line("own sent", content, TICKS.sent));
    this.open.set(id, content);
    const frame = { id, fromUserId: this.user, toUserId, chatType: "Single", msgType: "Text" };
    this.write({ ...frame, content });
  }

  // The author's own history says what became of his messages.
  async follow() {
    if (this.open.size === 0) return;
    const chat = { fromUserId: this.user, toUserId: this.peer.user, pageSize: 100 };
    const page = await this.call("/im/message/user/get/page", chat, () => {});
    for (const { id, stateEnum } of page)
      if (stateEnum === "Client" && this.open.delete(id)) this.tick(id, "delivered");
  }

  list(...inside) {
    const isOpen = inside[0] !== null;
    this.part("answer").replaceChildren(...(isOpen ? inside : []));
    this.part("answer").hidden = this.part("close").hidden = !isOpen;
  }

  async history(beforeSeq) {
    const userId = await this.register();
    const page = await this.call("/im/message/user/get/page",
      { userId, pageSize: HISTORY_ROWS, ...(beforeSeq && { beforeSeq }) });
    const rows = page.map(({ seq, fromUserId, toUserId, content, id, stateEnum }) =>
      [seq, `${fromUserId} → ${toUserId}`, wrapped(content, id), stateEnum]);
    const older = () => this.attempt(() => this.history(page.at(-1).seq));
    this.list(table(["seq", "from, to", "content, id", "state"], rows, [0, 1, 2, 3]),
      page.length < HISTORY_ROWS ? "" : make("button", { onclick: older }, "Older"));
  }

  async chats() {
    const entries = await this.call("/im/user/chat/list", { userId: await this.register() });
    const clear = (id) => () => this.attempt(async () => {
      await this.call("/im/user/chat/clear/unread", { id });
      await this.chats();
    });
    const rows = entries.map((entry) => [entry.toUserId, entry.unReadCount,
      wrapped(entry.lastMsgId?.content, entry.lastMsgDate),
      make("button", { onclick: clear(entry.id) }, "Mark read")]);
    this.list(table(["with", "unread", "last message, at", ""], rows, [0, 2]));
  }
}

// These two are at home on different shards, wherever there is more than one.
const left = new Pane("left", "ann"), right = new Pane("right", "ben");
Object.assign(left, { peer: right }) && Object.assign(right, { peer: left });
find("both").addEventListener("click", () =>
  [left, right].forEach((pane) => pane.attempt(() => pane.connect())));

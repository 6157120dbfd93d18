// Logs a browser in, for every page of this server: include it before a page's own scripts.

// `pytq token open` opens a page with a code behind the #, which is good once and never reaches a
// log. Here it becomes a token of this browser's own, kept in localStorage: that belongs to this
// host and port alone, and is sent along only where a script says so. There are no cookies.

// pytqDoor.ready   a promise; afterwards
// pytqDoor.token() is the token, or ""
// new WebSocket(…) to this server offers it as a subprotocol.
(() => {
  "use strict";
  const KEPT = "pytq.token";
  const API = new URL("../api/v1/", document.currentScript.src).href;

  const token = () => localStorage.getItem(KEPT) || "";

  const logIn = async () => {
    const code = new URLSearchParams(location.hash.slice(1)).get("login");
    if (!code) return;
    history.replaceState(null, "", location.pathname + location.search);
    const answer = await fetch(`${API}logins/redeem`, {
      method: "POST",
      headers: { "Content-Type": "application/json" },
      body: JSON.stringify({ code }),
    });
    const said = await answer.json();
    if (answer.ok) localStorage.setItem(KEPT, said.token);
    else tell(said.cure ? `${said.message}; ${said.cure}` : said.message);
  };

  // Who are we? If that is refused, what we have is of no use any more.
  const check = async () => {
    const headers = token() ? { Authorization: `Bearer ${token()}` } : {};
    const answer = await fetch(`${API}me`, { headers });
    if (answer.status !== 401) return;
    localStorage.removeItem(KEPT);
    tell("You are not logged in: on a machine that has a token, run `pytq token open`.");
  };

  const tell = (text) => {
    const line = document.createElement("p");
    line.className = "pytq-door";
    line.setAttribute("role", "status");
    line.textContent = text;
    document.body.prepend(line);
  };

  const Plain = window.WebSocket;
  window.WebSocket = class extends Plain {
    constructor(url, protocols = []) {
      const ours = new URL(url, location.href).host === location.host && token();
      const mine = ours ? ["pytq", `pytq.bearer.${token()}`] : [];
      super(url, [...mine, ...[protocols].flat()]);
    }
  };

  const loaded = new Promise((resolve) => {
    if (document.readyState === "loading") document.addEventListener("DOMContentLoaded", resolve);
    else resolve();
  });
  window.pytqDoor = { ready: loaded.then(logIn).then(check), token };
})();

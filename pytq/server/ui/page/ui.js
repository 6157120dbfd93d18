// Starts the cockpit once the door is open, and tells how it ended.
(() => {
  "use strict";
  const show = (id, shown) => { document.getElementById(id).hidden = !shown; };

  const end = (why) => {
    document.getElementById("why").textContent = why || "The session has ended.";
    show("waiting", false);
    show("over", true);
    document.getElementById("again").focus();
  };

  // The terminal makes one WebSocket: watch it.
  const Plain = window.WebSocket;
  window.WebSocket = class extends Plain {
    constructor(...given) {
      super(...given);
      let greeted = false;
      this.addEventListener("message", () => {
        if (greeted) return;
        greeted = true;
        show("waiting", false);
        document.querySelector(".xterm-helper-textarea").focus(); // keys work without a click
      });
      this.addEventListener("close", (event) => {
        end(event.reason || (greeted ? "" : "The server did not let this page in."));
      });
    }
  };

  const load = (source) => new Promise((resolve, reject) => {
    const script = document.createElement("script");
    script.onload = resolve;
    script.onerror = reject;
    script.src = source;
    document.head.append(script);
  });

  const start = async () => {
    await window.pytqDoor.ready;
    if (document.querySelector(".pytq-door")) {
      show("waiting", false);
      return;
    }
    const place = new URL("ws", location.href);
    place.protocol = place.protocol.replace("http", "ws");
    const terminal = document.getElementById("terminal");
    terminal.dataset.sessionWebsocketUrl = place.href;
    const size = Number(new URLSearchParams(location.search).get("fontsize"));
    if (size >= 6 && size <= 60) terminal.dataset.fontSize = size;
    await document.fonts.load("14px 'Roboto Mono'");
    await load("static/textual.js");
    window.onload(); // it waits for an event that is over
  };

  document.getElementById("again").addEventListener("click", () => location.reload());
  window.addEventListener("load", start);
})();

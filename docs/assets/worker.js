// Search runs in a Worker, and browsers start none for a page opened from disk. There, and only there, a hidden frame takes its place.
if (location.protocol === "file:") {
  window.Worker = class extends EventTarget {
    constructor(url) {
      super();
      const frame = document.createElement("iframe");
      const start = `
        receive = postMessage.bind(window);
        postMessage = data => parent.postMessage(data, "*");
        importScripts = async (...urls) => {
          for (const url of urls) {
            await new Promise((done, failed) => document.head.append(Object.assign(document.createElement("script"), {src: url, onload: done, onerror: failed})));
          }
        };`;
      this.waiting = [];
      this.frame = frame;
      frame.hidden = true;
      frame.srcdoc = `<!doctype html><head><script>${start}</script><script src="${url}"></script></head>`;
      frame.onload = () => { this.ready = true; this.waiting.splice(0).forEach(data => this.postMessage(data)); };
      addEventListener("message", event => {
        if (event.source === frame.contentWindow) {
          const copy = new MessageEvent("message", {data: event.data});
          this.dispatchEvent(copy);
          this.onmessage?.(copy);
        }
      });
      document.body.append(frame);
    }
    postMessage(data) {
      if (this.ready) this.frame.contentWindow.receive(data, "*");
      else this.waiting.push(data);
    }
    terminate() { this.frame.remove(); }
  };
}

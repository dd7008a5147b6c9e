// Lets the search work where the site is read from a folder. Browsers start no worker there, so the worker's script runs in a
// hidden frame instead. Both sides only use postMessage and the event "message".
if (location.protocol === "file:")
  window.Worker = class extends EventTarget {
    constructor(address) {
      super()
      const frame = document.createElement("iframe")
      frame.hidden = true
      document.body.appendChild(frame)
      const inside = frame.contentWindow
      inside.postMessage = data => this.dispatchEvent(new MessageEvent("message", { data }))
      const script = inside.document.createElement("script")
      script.src = address
      this.loaded = new Promise(resolve => (script.onload = resolve))
      inside.document.head.appendChild(script)
      this.inside = inside
    }
    postMessage(data) {
      this.loaded.then(() => this.inside.dispatchEvent(new MessageEvent("message", { data })))
    }
    terminate() {}
  }

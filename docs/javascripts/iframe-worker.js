// The search of the manual runs in a worker. Browsers start none for pages that are opened as files,
// so there its script runs in a hidden frame.
if (location.protocol === "file:") {
  window.Worker = window.IFrameWorker = class extends EventTarget {
    constructor(address) {
      super();
      this.frame = document.createElement("iframe");
      this.frame.hidden = true;
      // Firefox replaces the first document of a frame when it has loaded the empty page.
      this.loaded = new Promise((resolve) => (this.frame.onload = resolve)).then(() => {
        // What the script posts arrives at this object.
        this.frame.contentWindow.postMessage = (data) =>
          this.dispatchEvent(new MessageEvent("message", { data }));

        const inner = this.frame.contentDocument;
        const script = inner.createElement("script");
        script.src = address;
        inner.body.append(script);
        return new Promise((resolve) => (script.onload = resolve));
      });
      document.body.append(this.frame);
    }

    postMessage(data) {
      const event = new MessageEvent("message", { data });
      this.loaded.then(() => this.frame.contentWindow.dispatchEvent(event));
    }

    terminate() {
      this.frame.remove();
    }
  };
}

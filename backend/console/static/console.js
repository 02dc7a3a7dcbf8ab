// The console's own script: one stream of events, what they redraw, and the charts. Pages work without it, but do not move by themselves.
"use strict";
(() => {
  const body = document.body;
  const here = document.querySelector(".tabs [aria-current]");
  if (here) here.parentElement.parentElement.parentElement.scrollLeft = here.offsetLeft - 60; // on a phone the row of pages is wider than the screen
  const pulse = document.getElementById("pulse");
  const say = (state, words) => {
    if (pulse) { pulse.dataset.state = state; pulse.textContent = words; }
  };

  // One stream a page; a page in the background lets its go, so that many tabs do not use up the browser's connections.
  let source = null;
  const kinds = ["reading", "session", "supply", "alarm", "anchor", "money"];
  const connect = () => {
    if (source || !body.dataset.events) return;
    source = new EventSource(body.dataset.events);
    source.addEventListener("hello", () => { say("live", "live"); htmx.trigger(body, "refresh"); });
    source.onerror = () => say("lost", "reconnecting");
    for (const kind of kinds) {
      source.addEventListener(kind, (event) => {
        const news = JSON.parse(event.data);
        htmx.trigger(body, kind, news);
      });
    }
  };
  const leave = () => { if (source) { source.close(); source = null; say("", "paused"); } };
  document.addEventListener("visibilitychange", () => (document.hidden ? leave() : connect()));
  window.addEventListener("pagehide", leave);
  connect();

  // Where the log-in is over, the answer is the log-in page's address: go there instead of drawing it into a table.
  document.addEventListener("htmx:responseError", (event) => {
    if (event.detail.xhr.status === 401) window.location.assign("/console/log-in");
  });

  const color = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();
  const watts = (value) => (value === null || value === undefined ? "–" : value >= 10000 ? (value / 1000).toFixed(2) + " kW" : value.toFixed(1) + " W");

  class PowerChart {
    constructor(place) {
      this.place = place;
      this.point = place.dataset.point;
      this.keepSeconds = Number(place.dataset.seconds);
      this.data = [[], []];
      fetch(place.dataset.chart, { headers: { Accept: "application/json" } })
        .then((answer) => (answer.ok ? answer.json() : Promise.reject(new Error(String(answer.status)))))
        .then((page) => this.start(page.items))
        .catch(() => { place.textContent = "The readings could not be loaded. Reload the page to try again."; });
    }
    start(items) {
      for (const item of items) { this.data[0].push(item.endS); this.data[1].push(item.powerMilliwatts / 1000); }
      this.draw();
      htmx.on(body, "reading", (event) => this.add(event.detail));
      new ResizeObserver(() => this.plot && this.plot.setSize(this.size())).observe(this.place);
      matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => { this.remove(); this.draw(); });
    }
    size() { return { width: this.place.clientWidth, height: this.place.clientHeight - 34 }; }
    remove() { if (this.plot) { this.plot.destroy(); this.plot = null; } }
    draw() {
      if (this.data[0].length === 0) {
        this.place.innerHTML = "<p>No reading yet in this time.</p>";
        return;
      }
      this.place.textContent = "";
      const clock = (_plot, ticks, _axis, _space, step) => ticks.map((tick) => new Date(tick * 1000).toISOString().slice(11, step < 60 ? 19 : 16));
      const axis = { stroke: color("--wp-quiet"), grid: { stroke: color("--wp-line"), width: 1 }, ticks: { stroke: color("--wp-line"), width: 1 } };
      const stroke = color("--wp-chart");
      this.plot = new uPlot({
        ...this.size(),
        tzDate: (seconds) => uPlot.tzDate(new Date(seconds * 1000), "Etc/UTC"),
        cursor: { y: false },
        scales: { x: { range: (_plot, first, last) => [Math.min(first, last - 300), last] }, y: { range: (_plot, low, high) => [Math.min(0, low), Math.max(high * 1.08, low === high ? 10 : 1)] } },
        axes: [{ ...axis, space: 80, values: clock }, { ...axis, size: 62, values: (_plot, ticks) => ticks.map((tick) => (Math.abs(tick) >= 10000 ? tick / 1000 + " kW" : tick + " W")) }],
        series: [
          { label: "UTC", value: "{YYYY}-{MM}-{DD} {HH}:{mm}:{ss}" },
          { label: "Power", stroke, width: 2, fill: stroke + "22", points: { show: this.data[0].length < 60 }, value: (_plot, value) => watts(value) },
        ],
      }, this.data, this.place);
    }
    add(news) {
      const [times, values] = this.data;
      if (news.pointId !== this.point || (times.length && news.endS <= times[times.length - 1])) return;
      times.push(news.endS);
      values.push(news.powerMilliwatts / 1000);
      while (times.length && times[0] < news.endS - this.keepSeconds) { times.shift(); values.shift(); }
      if (this.plot) this.plot.setData(this.data); else this.draw();
    }
  }
  document.querySelectorAll("[data-chart]").forEach((place) => new PowerChart(place));

  // Copying a hash, where the browser allows it.
  document.addEventListener("click", (event) => {
    const button = event.target.closest("[data-copy]");
    if (!button || !navigator.clipboard) return;
    navigator.clipboard.writeText(button.dataset.copy).then(() => {
      const words = button.textContent;
      button.textContent = "copied";
      setTimeout(() => { button.textContent = words; }, 1500);
    });
  });
})();

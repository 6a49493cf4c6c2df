// What tests run in the page itself; each function is sent there alone, and sees nothing of this file.

export function countsNow() {
  const nodes = [...document.querySelectorAll('[data-state][data-count]')];
  return Object.fromEntries(nodes.map(({ dataset }) => [dataset.state, Number(dataset.count)]));
}

/** Remembers what the nodes have shown, and since when. */
export function recordCounts() {
  globalThis.recorded = [];
  const record = () => {
    const nodes = [...document.querySelectorAll('[data-state][data-count]')];
    const counts = nodes.map(({ dataset }) => [dataset.state, Number(dataset.count)]);
    globalThis.recorded.push({ atMs: Date.now(), counts: Object.fromEntries(counts) });
  };
  record();
  new MutationObserver(record).observe(document.body, { subtree: true, attributeFilter: ['data-count'] });
}

export function shownSince({ wanted, sinceMs }) {
  const isShown = ({ atMs, counts }) =>
    atMs >= sinceMs && Object.entries(counts).every(([state, count]) => count === (wanted[state] ?? 0));
  return globalThis.recorded.find(isShown)?.atMs ?? null;
}

export function firstPaint() {
  return performance.getEntriesByName('first-contentful-paint')[0]?.startTime ?? 1e9;
}

export function cookies() {
  return document.cookie;
}

export function widthNeeded() {
  return document.documentElement.scrollWidth;
}

export function runAxe() {
  return globalThis.axe.run({ resultTypes: ['violations'] });
}

"use strict";
(() => {
  const css = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();
  const narrow = () => matchMedia("(max-width: 600px)").matches;
  const touch = matchMedia("(pointer: coarse)").matches;
  const config = { responsive: true, displaylogo: false, displayModeBar: false, scrollZoom: false };

  // The figures come without colours; these are the ones of the reader's light or dark mode.
  function coloured(figure) {
    const axis = { color: css("--muted"), gridcolor: css("--line"), linecolor: css("--line"), tickcolor: css("--line") };
    const layout = structuredClone(figure.layout);
    layout.paper_bgcolor = layout.plot_bgcolor = "rgba(0,0,0,0)";
    layout.font = { family: css("--font"), size: narrow() ? 11 : 12.5, color: css("--ink") };
    layout.hoverlabel = { bgcolor: css("--raised"), bordercolor: css("--line"), font: { color: css("--ink") } };
    for (const name of ["xaxis", "yaxis"]) Object.assign((layout[name] ||= {}), axis);
    // A finger that scrolls the page shall not drag a plot instead.
    if (touch) layout.dragmode = false;
    const data = figure.data.map((trace) => {
      const ink = trace.meta && trace.meta.ink ? css(`--ink-${trace.meta.ink}`) : null;
      if (ink === null) return trace;
      return { ...trace, line: { ...trace.line, color: ink }, marker: { ...trace.marker, color: ink } };
    });
    return [data, layout];
  }

  const figures = new Map();
  function draw(element) {
    if (!figures.has(element)) {
      figures.set(element, JSON.parse(document.getElementById(element.dataset.figure).textContent));
    }
    const [data, layout] = coloured(figures.get(element));
    Plotly.react(element, data, layout, config);
  }
  // One that is folded away has no size yet: it is drawn when it is unfolded.
  const visible = (element) => !element.closest("details:not([open])");
  const drawings = [...document.querySelectorAll("[data-figure]")];
  drawings.filter(visible).forEach(draw);
  document.querySelectorAll("details").forEach((details) =>
    details.addEventListener("toggle", () => {
      drawings.filter((element) => details.contains(element) && visible(element) && !figures.has(element)).forEach(draw);
    })
  );
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => [...figures.keys()].forEach(draw));

  const dialog = document.getElementById("enlarged");
  document.querySelectorAll(".enlarge").forEach((button) =>
    button.addEventListener("click", () => {
      const shown = [...button.children].map((child) => child.cloneNode(true));
      dialog.querySelector("div").replaceChildren(...shown);
      dialog.querySelector("figcaption").innerHTML = button.parentElement.querySelector("figcaption").innerHTML;
      dialog.showModal();
    })
  );
  if (dialog) dialog.addEventListener("click", (event) => event.target === dialog && dialog.close());
})();

"use strict";
// The map, the cell that is chosen, the cut by confidence and the table to download. Facts and cells
// stand in the page itself; cells are columns of small whole numbers, deflated.
(async () => {
  const facts = JSON.parse(document.getElementById("facts").textContent);
  const $ = (id) => document.getElementById(id);
  const dark = matchMedia("(prefers-color-scheme: dark)");
  const ARRAYS = { u1: Uint8Array, u2: Uint16Array };
  const CIVIDIS = ["#00204d", "#1f3a6d", "#575d6d", "#7f7c75", "#a69d75", "#d3c164", "#ffe945"];
  // Genes from the colour of next to nothing, because most cells do not express most genes.
  const GENES = { light: ["#e2e5e7", "#7fb3d8", "#0072b2", "#00294a"], dark: ["#31373d", "#2f7299", "#56b4e9", "#e3f4ff"] };

  // Colours between some, in as many steps as an eye can tell.
  function ramp(colours, n = 64) {
    const parts = colours.map((colour) => [1, 3, 5].map((at) => parseInt(colour.slice(at, at + 2), 16)));
    return Array.from({ length: n }, (_, i) => {
      const at = (i / (n - 1)) * (parts.length - 1), low = Math.min(Math.floor(at), parts.length - 2);
      const mixed = parts[low].map((value, k) => Math.round(value + (at - low) * (parts[low + 1][k] - value)));
      return "#" + mixed.map((value) => value.toString(16).padStart(2, "0")).join("");
    });
  }
  const SEQUENTIAL = ramp(CIVIDIS);

  // ---------------------------------------------------------------- columns

  async function unpacked(name) {
    const text = document.querySelector(`script[data-column="${CSS.escape(name)}"]`).textContent;
    const bytes = Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0));
    const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("deflate"));
    return new Response(stream).arrayBuffer();
  }
  const known = new Map();
  async function column(name) {
    if (!known.has(name)) known.set(name, new ARRAYS[facts.columns[name]](await unpacked(name)));
    return known.get(name);
  }
  const ids = new TextDecoder().decode(await unpacked("cell_ids")).split("\n");
  const has = (name) => name in facts.columns;
  const cells = {};
  for (const name of Object.keys(facts.columns)) {
    if (!name.startsWith("gene:")) cells[name] = await column(name);
  }
  const n = facts.n_cells;
  const share = (number) => number / 65535;
  const percent = (x) => `${(100 * x).toFixed(x < 0.0995 && x > 0 ? 1 : 0)}%`;
  const labels = facts.labels;
  const labelOf = (i) => labels[cells.label[i]].name;

  // Which true labels the reference has: only of such cells a label can be right.
  const inReference = has("truth") && facts.truth_names.map((name) => labels.findIndex((one) => one.name === name));
  const isShared = (i) => inReference && inReference[cells.truth[i]] >= 0;
  const isUnseen = (i) => inReference && inReference[cells.truth[i]] < 0 && facts.truth_names[cells.truth[i]] !== "";
  const isRight = (i) => inReference[cells.truth[i]] === cells.label[i];

  // ---------------------------------------------------------------- state

  const state = { view: "label", gene: null, focus: null, cut: 0, dropUnknown: true, cell: null };
  const keeps = (i) => share(cells.confidence[i]) >= state.cut && !(state.dropUnknown && cells.unknown[i]);

  // ---------------------------------------------------------------- map

  // Cells lie in a random order, so that none hides the others by its place in the file.
  const order = Uint32Array.from({ length: n }, (_, i) => i);
  let lot = 12345;
  for (let i = n - 1; i > 0; i--) {
    lot = (Math.imul(lot, 1664525) + 1013904223) >>> 0;
    const j = lot % (i + 1);
    [order[i], order[j]] = [order[j], order[i]];
  }
  const drawn = order.filter((i) => cells.x[i] !== facts.unplaced || cells.y[i] !== facts.unplaced);
  const source = new Bokeh.ColumnDataSource({
    data: {
      x: Float32Array.from(drawn, (i) => cells.x[i]),
      y: Float32Array.from(drawn, (i) => cells.y[i]),
      value: new Float32Array(drawn.length),
      opacity: new Float32Array(drawn.length).fill(1),
    },
  });
  const mark = new Bokeh.ColumnDataSource({ data: { x: [], y: [] } });
  const mapper = new Bokeh.LinearColorMapper({ palette: ["#888888"], low: 0, high: 1 });
  const size = drawn.length > 50000 ? 3 : drawn.length > 10000 ? 4 : drawn.length > 2000 ? 5 : 7;
  const map = Bokeh.Plotting.figure({
    output_backend: "webgl", sizing_mode: "stretch_both", match_aspect: true,
    tools: "pan,wheel_zoom,box_zoom,reset,save", toolbar_location: "right",
    background_fill_color: null, border_fill_color: null, outline_line_color: null,
    x_axis_location: null, y_axis_location: null, lod_threshold: 30000, lod_factor: 10,
  });
  map.toolbar.logo = null;
  map.toolbar.active_scroll = map.toolbar.tools.find((tool) => tool.type === "WheelZoomTool");
  map.xgrid.visible = map.ygrid.visible = false;
  map.scatter({ field: "x" }, { field: "y" }, {
    source, size, line_color: null, fill_color: { field: "value", transform: mapper }, fill_alpha: { field: "opacity" },
  });
  const ring = map.scatter({ field: "x" }, { field: "y" }, { source: mark, size: size + 12, fill_color: null, line_width: 2.5 });

  const codes = (names, palette) => ({ palette, low: -0.5, high: palette.length - 0.5, names });
  const VIEWS = {
    label: () => ({ ...codes(labels.map((one) => one.name), labels.map((one) => one.colour)), values: cells.label }),
    confidence: () => ({ palette: SEQUENTIAL, low: 0, high: 65535, values: cells.confidence, scale: ["0", "1", "confidence"] }),
    score: () => ({
      palette: SEQUENTIAL, low: 0, high: 65535, values: cells.score,
      scale: ["0", "1", facts.model.unknown_above < 1 ? `unknown score; flagged above ${facts.model.unknown_above.toFixed(2)}` : "unknown score"],
    }),
    batch: () => ({ ...codes(facts.batch_names, facts.batch_names.map((_, i) => facts.colours[i % facts.colours.length])), values: cells.batch }),
    truth: () => ({
      ...codes(facts.truth_names.map((name) => name || "not known"), facts.truth_names.map((name, i) => (inReference[i] >= 0 ? labels[inReference[i]].colour : name ? strange(i) : grey()))),
      values: cells.truth,
    }),
    right: () => ({
      ...codes(["the reference lacks the true label", "wrong", "right"], [grey(), "#d55e00", "#009e73"]),
      values: Uint8Array.from({ length: n }, (_, i) => (isShared(i) ? 1 + isRight(i) : 0)),
    }),
  };
  const grey = () => (dark.matches ? "#596068" : "#b9bdc2");
  const strange = (i) => facts.colours[(labels.length + i) % facts.colours.length]; // of types that the reference lacks

  async function paint() {
    const view = state.gene === null ? VIEWS[state.view]() : {
      palette: ramp(GENES[dark.matches ? "dark" : "light"]), low: 0, high: facts.levels, values: await column(`gene:${state.gene}`),
      scale: ["0", facts.genes.find((one) => one.name === state.gene).highest.toFixed(1), `${state.gene}, log-normalised`],
    };
    const greyed = state.view === "label" && state.gene === null;
    const palette = greyed ? [grey(), ...view.palette] : view.palette;
    mapper.setv({ palette, low: greyed ? view.low - 1 : view.low, high: view.high });
    // of numbers the highest are drawn last, so that they are seen
    const shown = view.scale ? drawn.slice().sort((a, b) => view.values[a] - view.values[b]) : drawn;
    const value = new Float32Array(drawn.length), opacity = new Float32Array(drawn.length);
    shown.forEach((i, place) => {
      const kept = keeps(i);
      value[place] = greyed && !kept ? -1 : view.values[i];
      const inFocus = state.focus === null || cells.label[i] === state.focus;
      opacity[place] = !inFocus ? 0.05 : kept || !state.cut || greyed ? 0.85 : 0.12;
    });
    source.data = { x: Float32Array.from(shown, (i) => cells.x[i]), y: Float32Array.from(shown, (i) => cells.y[i]), value, opacity };
    $("scale").hidden = !view.scale;
    if (view.scale) {
      [$("scale-low").textContent, $("scale-high").textContent, $("scale-name").textContent] = view.scale;
      $("scale-bar").style.background = `linear-gradient(90deg, ${view.palette})`;
    }
    drawLegend(view, greyed);
    document.body.dataset.painted = state.gene ?? state.view;
  }

  // Names of the colours that occur, the most frequent first; those of labels are buttons.
  function drawLegend(view, ofLabels) {
    const entries = [];
    if (view.names) {
      const counts = new Uint32Array(view.names.length);
      let without = 0;
      for (let i = 0; i < n; i++) {
        if (ofLabels && !keeps(i)) without++;
        else counts[view.values[i]]++;
      }
      view.names.forEach((name, place) => { if (counts[place]) entries.push({ name, place, count: counts[place], colour: view.palette[place] }); });
      entries.sort((a, b) => b.count - a.count);
      if (without) entries.push({ name: "without a label", place: null, count: without, colour: grey() });
    }
    $("legend").replaceChildren(...entries.map((one) => {
      const item = element("li", null), button = element("button", null, { type: "button", title: `${one.count.toLocaleString("en")} cells` });
      const dot = element("i", null);
      dot.style.background = one.colour;
      button.append(dot, one.name);
      if (ofLabels && one.place !== null) {
        button.setAttribute("aria-pressed", String(state.focus === one.place));
        button.onclick = () => show({ focus: state.focus === one.place ? null : one.place });
      } else button.disabled = true;
      item.append(button);
      return item;
    }));
  }

  function choose(i) {
    state.cell = i;
    mark.data = { x: [cells.x[i]], y: [cells.y[i]] };
    tell(i);
  }
  map.on_event("tap", (tap) => {
    const xs = map.x_range, ys = map.y_range;
    const nearest = drawn.reduce((best, i) => {
      if (state.focus !== null && cells.label[i] !== state.focus) return best;
      const far = ((cells.x[i] - tap.x) / (xs.end - xs.start)) ** 2 + ((cells.y[i] - tap.y) / (ys.end - ys.start)) ** 2;
      return far < best.far ? { far, i } : best;
    }, { far: 0.03 ** 2, i: null });
    if (nearest.i !== null) choose(nearest.i);
  });

  // ---------------------------------------------------------------- one cell

  function element(tag, text, attributes = {}) {
    const made = document.createElement(tag);
    if (text !== null) made.textContent = text;
    for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, value);
    return made;
  }

  function tell(i) {
    const label = labels[cells.label[i]], place = $("cell");
    const list = element("dl", null);
    const row = (name, value) => list.append(element("dt", name), element("dd", value));
    row("cell", ids[i]);
    row("label", label.name);
    if (has("batch")) row("batch", facts.batch_names[cells.batch[i]]);
    if (has("truth")) row("true label", facts.truth_names[cells.truth[i]] || "not known");
    row("unknown", `${cells.unknown[i] ? `yes: ${facts.reasons[cells.reason[i]]}` : "no"} (score ${share(cells.score[i]).toFixed(3)})`);
    place.replaceChildren(element("h3", "One cell"), list, element("h4", "Probabilities"));
    const probabilities = [[label, cells.confidence[i]]];
    for (let rank = 0; has(`other${rank}`); rank++) probabilities.push([labels[cells[`other${rank}`][i]], cells[`probability${rank}`][i]]);
    for (const [one, probability] of probabilities) {
      const line = element("div", null, { class: "probability" }), bar = element("span", null);
      const inner = element("i", null);
      inner.style.width = `${Math.max(100 * share(probability), 1)}%`;
      inner.style.background = one.colour;
      bar.append(inner);
      line.append(element("span", one.name, { title: one.name }), bar, element("span", share(probability).toFixed(3), { class: "n" }));
      place.append(line);
    }
    if (label.genes?.length) {
      place.append(element("h4", `Genes that speak for ${label.name} against ${label.runner_up} (${label.n_explained} cells)`));
      const genes = element("ul", null, { class: "chips" });
      for (const gene of label.genes) {
        const item = element("li", has(`gene:${gene.name}`) ? null : gene.name);
        if (has(`gene:${gene.name}`)) {
          const button = element("button", gene.name, { type: "button", title: `mean here ${gene.here.toFixed(2)}, in ${label.runner_up} ${gene.runner_up.toFixed(2)}` });
          button.onclick = () => show({ gene: gene.name });
          item.append(button);
        }
        genes.append(item);
      }
      place.append(genes);
    }
    if (label.pathways?.length) {
      place.append(element("h4", `Pathways (${percent(label.outside)} comes from outside of them)`));
      const pathways = element("ul", null, { class: "chips" });
      pathways.append(...label.pathways.map((one) => element("li", one.name.replaceAll("_", " "))));
      place.append(pathways);
    }
  }

  // ---------------------------------------------------------------- the cut

  function tally(keep) {
    const sum = { kept: 0, expected: 0, shared: 0, right: 0, unseen: 0 };
    for (let i = 0; i < n; i++) {
      if (!keep(i)) continue;
      sum.kept++;
      sum.expected += share(cells.confidence[i]);
      if (isShared(i)) { sum.shared++; sum.right += isRight(i); }
      if (isUnseen(i)) sum.unseen++;
    }
    return sum;
  }
  const all = tally(() => true);

  function sayCut() {
    const sum = tally(keeps), lost = n - sum.kept;
    const said = [`${sum.kept.toLocaleString("en")} of ${n.toLocaleString("en")} cells keep their label; ${lost.toLocaleString("en")} (${percent(lost / n)}) go without.`];
    if (sum.kept) said.push(`Of those kept ${percent(sum.expected / sum.kept)} should be right (of all: ${percent(all.expected / n)}).`);
    if (sum.shared) said.push(`${percent(sum.right / sum.shared)} are right (of all: ${percent(all.right / all.shared)}).`);
    if (all.unseen) said.push(`${sum.unseen.toLocaleString("en")} of ${all.unseen.toLocaleString("en")} cells of types that the reference lacks keep a label.`);
    $("cut-value").textContent = state.cut.toFixed(2);
    $("cut-says").textContent = said.join(" ");
    here.location = state.cut;
  }

  const steps = Array.from({ length: 51 }, (_, i) => i / 50);
  const cut = Bokeh.Plotting.figure({
    sizing_mode: "stretch_both", tools: "", toolbar_location: null, x_range: [0, 1], y_range: [0, 1.05],
    background_fill_color: null, border_fill_color: null, outline_line_color: null,
  });
  const curves = new Bokeh.ColumnDataSource({ data: { cut: steps, kept: steps.map(() => NaN), good: steps.map(() => NaN) } });
  const keptLine = cut.line({ field: "cut" }, { field: "kept" }, { source: curves, line_width: 2 });
  const goodLine = cut.line({ field: "cut" }, { field: "good" }, { source: curves, line_width: 2, line_color: "#009e73" });
  const here = new Bokeh.Span({ dimension: "height", location: 0, line_width: 1 });
  cut.add_layout(here);

  function drawCurves() {
    const kept = new Float64Array(101), good = new Float64Array(101), counted = new Float64Array(101);
    for (let i = 0; i < n; i++) {
      if (state.dropUnknown && cells.unknown[i]) continue;
      const bin = Math.min(Math.floor(share(cells.confidence[i]) * 50), 50);
      kept[bin]++;
      if (inReference) { if (isShared(i)) { counted[bin]++; good[bin] += isRight(i); } }
      else { counted[bin]++; good[bin] += share(cells.confidence[i]); }
    }
    for (let bin = 49; bin >= 0; bin--) for (const one of [kept, good, counted]) one[bin] += one[bin + 1];
    curves.data = {
      cut: steps, kept: steps.map((_, i) => kept[i] / n),
      good: steps.map((_, i) => (counted[i] ? good[i] / counted[i] : NaN)),
    };
  }

  // ---------------------------------------------------------------- download

  function table() {
    const quoted = (text) => (/[",\n\r]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text);
    const names = ["cell_id", "label", "confidence", "unknown", "unknown_score", "reason", "label_or_unassigned"];
    for (let rank = 0; has(`other${rank}`); rank++) names.push(`label_${rank + 2}`, `probability_${rank + 2}`);
    if (has("batch")) names.push("batch");
    if (has("truth")) names.push("true_label");
    const lines = [names.join(",")];
    for (let i = 0; i < n; i++) {
      const line = [ids[i], labelOf(i), share(cells.confidence[i]).toFixed(4), cells.unknown[i] ? "True" : "False",
        share(cells.score[i]).toFixed(4), facts.reasons[cells.reason[i]], keeps(i) ? labelOf(i) : "unassigned"];
      for (let rank = 0; has(`other${rank}`); rank++) line.push(labels[cells[`other${rank}`][i]].name, share(cells[`probability${rank}`][i]).toFixed(4));
      if (has("batch")) line.push(facts.batch_names[cells.batch[i]]);
      if (has("truth")) line.push(facts.truth_names[cells.truth[i]]);
      lines.push(line.map(quoted).join(","));
    }
    return lines.join("\n") + "\n";
  }
  $("download").onclick = () => {
    const link = element("a", null, { download: `${facts.name.replace(/\W+/g, "_")}_labels.csv` });
    link.href = URL.createObjectURL(new Blob([table()], { type: "text/csv" }));
    link.click();
    setTimeout(() => URL.revokeObjectURL(link.href), 1000);
  };

  // ---------------------------------------------------------------- what a person does

  async function show(change) {
    Object.assign(state, change);
    $("gene").value = state.gene ?? "";
    for (const button of document.querySelectorAll("[data-view]"))
      button.setAttribute("aria-checked", String(state.gene === null && button.dataset.view === state.view));
    for (const row of document.querySelectorAll("[data-label]"))
      row.classList.toggle("chosen", Number(row.dataset.label) === state.focus);
    await paint();
  }
  for (const button of document.querySelectorAll("[data-view]"))
    button.onclick = () => show({ view: button.dataset.view, gene: null });
  $("gene").onchange = (event) => {
    const found = facts.genes.find((one) => one.name.toLowerCase() === event.target.value.trim().toLowerCase());
    show({ gene: found ? found.name : null });
  };
  for (const row of document.querySelectorAll("[data-label]"))
    row.querySelector("button").onclick = () => {
      const place = Number(row.dataset.label);
      show({ focus: state.focus === place ? null : place });
    };
  let waiting = null;
  function recut() {
    sayCut();
    clearTimeout(waiting); // the words follow at once, the map when the slider rests
    waiting = setTimeout(paint, 80);
  }
  $("cut-slider").oninput = (event) => { state.cut = event.target.value / 100; recut(); };
  $("cut-unknown").onchange = (event) => { state.dropUnknown = event.target.checked; drawCurves(); recut(); };

  // ---------------------------------------------------------------- light and dark

  function dress() {
    const style = getComputedStyle(document.documentElement);
    const [ink, quiet, line, accent] = ["--ink", "--quiet", "--line", "--accent"].map((name) => style.getPropertyValue(name).trim());
    ring.glyph.line_color = ink;
    keptLine.glyph.line_color = accent;
    here.line_color = quiet;
    for (const axis of [...cut.below, ...cut.left])
      axis.setv({ major_label_text_color: quiet, axis_line_color: line, major_tick_line_color: line, minor_tick_line_color: null, major_label_text_font_size: "10px" });
    for (const grid of [cut.xgrid, cut.ygrid]) grid.grid_line_color = null;
    paint();
  }
  dark.addEventListener("change", dress);
  document.querySelector(".wait").remove();
  await Bokeh.Plotting.show(map, "#map");
  await Bokeh.Plotting.show(cut, "#cut-curve");
  drawCurves();
  sayCut();
  dress();
  document.body.dataset.ready = "true";
})().catch((error) => {
  document.body.dataset.failed = String(error);
  const wait = document.querySelector(".wait");
  if (wait) wait.textContent = `The map cannot be drawn in this browser (${error}). The tables below are whole.`;
});

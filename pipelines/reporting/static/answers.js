// Corrections: what a person answers of clips, kept in this browser, saved as CSV.
//
// answers[clip_id][key] is one row of the CSV. The key is the label that the row is about, or "" of
// an answer about the whole clip. A clip has one row, unless it may have several labels.
{
  const COLUMNS = ["uri", "label", "answer", "tag", "score", "clip_id", "model_id"];
  const SAID = { right: "right", wrong: "wrong", other: "another label", none: "none of these" };
  const answered = document.getElementById("answered");
  const several = document.getElementById("several");
  const save = document.getElementById("save");
  const clear = document.getElementById("clear");
  const clips = [...document.querySelectorAll(".clip")];
  let answers = {};
  let current = null;

  const entryOf = (clip) => data.entries[Number(clip.dataset.entry)];

  function load() {
    try {
      const kept = JSON.parse(localStorage.getItem(data.key) || "{}");
      answers = Object.assign(Object.create(null), kept.answers);
      several.checked = kept.several ?? data.several;
    } catch {
      answers = Object.create(null);
      several.checked = data.several;
    }
  }

  function keep() {
    try {
      localStorage.setItem(data.key, JSON.stringify({ answers, several: several.checked }));
      return "";
    } catch {
      return " This browser keeps nothing: save before you leave.";
    }
  }

  const rowsOf = (entry) => Object.values(answers[entry.clip_id] ?? {});

  // The rows of an entry's clip that answer for its tag.
  const about = (entry) => rowsOf(entry).filter((row) => row.tag === entry.tag);

  function answer(clip, kind, label = "") {
    const entry = entryOf(clip);
    const key = kind === "none" ? "none" : `label ${label || entry.tag}`;
    const before = answers[entry.clip_id] ?? {};
    const again = before[key]?.answer === kind && before[key].tag === entry.tag;
    const rows = several.checked && kind !== "none" ? { ...before } : {};
    delete rows.none;
    delete rows[key];
    if (!again) {
      const { clip_id, uri, tag, score } = entry;
      const named = { right: tag, other: label }[kind] ?? "";
      rows[key] = { uri, label: named, answer: kind, tag, score, clip_id };
    }
    if (Object.keys(rows).length) answers[entry.clip_id] = rows;
    else delete answers[entry.clip_id];
    show(`${again ? "Taken back" : label || SAID[kind]}. `);
  }

  function show(said = "") {
    for (const clip of clips) showOne(clip);
    const n = Object.keys(answers).length;
    const count = n ? `${n} ${n === 1 ? "clip" : "clips"} answered.` : "No clip answered yet.";
    answered.textContent = said + count + keep();
    save.disabled = clear.disabled = !n;
  }

  function showOne(clip) {
    const entry = entryOf(clip);
    const given = about(entry);
    clip.classList.toggle("is-answered", rowsOf(entry).length > 0);
    for (const button of clip.querySelectorAll("[data-answer]")) {
      const row = given.find((one) => one.answer === button.dataset.answer);
      button.setAttribute("aria-pressed", String(Boolean(row)));
    }
    for (const button of clip.querySelectorAll("[data-label]")) {
      const [label] = entry.tags[Number(button.dataset.label)];
      const row = given.find((one) => one.answer === "other" && one.label === label);
      button.setAttribute("aria-pressed", String(Boolean(row)));
    }
    const others = given.filter((one) => one.answer === "other").map((one) => one.label);
    clip.querySelector(".given").textContent = others.length ? `It is ${others.join(", ")}.` : "";
  }

  function ask(clip, open) {
    const form = clip.querySelector(".other");
    form.hidden = !open;
    clip.querySelector("[data-answer=other]").setAttribute("aria-expanded", String(open));
    if (open) form.elements.label.focus();
    else clip.focus();
  }

  function choose(clip, kind) {
    if (kind === "other") return ask(clip, clip.querySelector(".other").hidden);
    answer(clip, kind);
  }

  // Every field is quoted, and otherwise as it is: whoever reads the file gets each name exactly.
  const field = (value) => `"${String(value).replaceAll('"', '""')}"`;

  function csv() {
    const rows = Object.values(answers).flatMap((of) => Object.values(of));
    const lines = rows.map((row) => COLUMNS.map((column) =>
      field(column === "model_id" ? data.model_id : row[column])).join(","));
    return [COLUMNS.join(","), ...lines].join("\r\n") + "\r\n";
  }

  function download() {
    const link = document.createElement("a");
    link.href = URL.createObjectURL(new Blob([csv()], { type: "text/csv;charset=utf-8" }));
    link.download = data.file;
    link.click();
    setTimeout(() => URL.revokeObjectURL(link.href), 60_000);
    show("Saved. ");
  }

  // After a click of the mouse the keys are the clip's again: space plays, and presses no button.
  function leave(event, clip) {
    if (event.detail && clip.querySelector(".other").hidden) clip.focus({ preventScroll: true });
  }

  function go(steps) {
    const at = clips.indexOf(current);
    const next = clips[Math.min(Math.max(0, at + steps), clips.length - 1)];
    next?.focus();
    next?.scrollIntoView({ block: "nearest" });
  }

  function press(event) {
    if (event.target.closest("input, select, textarea") || event.ctrlKey || event.altKey || event.metaKey) return;
    const clip = event.target.closest(".clip") ?? (event.target === document.body ? current : null);
    const key = event.key;
    if (key === "ArrowRight" || (clip && key === "ArrowDown")) go(1);
    else if (key === "ArrowLeft" || (clip && key === "ArrowUp")) go(-1);
    else if (clip && key === " " && !event.target.closest("button")) play(clip);
    else if (clip && "1234".includes(key)) choose(clip, Object.keys(SAID)[Number(key) - 1]);
    else return;
    event.preventDefault();
  }

  for (const clip of clips) {
    clip.addEventListener("focusin", () => { current = clip; });
    for (const button of clip.querySelectorAll("[data-answer]")) {
      button.addEventListener("click", (event) => {
        choose(clip, button.dataset.answer);
        leave(event, clip);
      });
    }
    for (const button of clip.querySelectorAll("[data-label]")) {
      const [label] = entryOf(clip).tags[Number(button.dataset.label)];
      button.addEventListener("click", (event) => {
        answer(clip, "other", label);
        leave(event, clip);
      });
    }
    const form = clip.querySelector(".other");
    form.addEventListener("submit", (event) => {
      event.preventDefault();
      const label = form.elements.label.value.trim();
      if (!label) return;
      answer(clip, label === entryOf(clip).tag ? "right" : "other", label);
      form.elements.label.value = "";
      ask(clip, false);
    });
    form.addEventListener("keydown", (event) => { if (event.key === "Escape") ask(clip, false); });
  }
  if (clips.length) clips[0].tabIndex = 0;
  document.addEventListener("keydown", press);
  several.addEventListener("change", () => show());
  save.addEventListener("click", download);
  clear.addEventListener("click", () => {
    if (!confirm("Forget all answers that this browser keeps of these tables?")) return;
    answers = Object.create(null);
    show("Cleared. ");
  });
  load();
  show();
}

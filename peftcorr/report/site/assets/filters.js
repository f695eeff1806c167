// What of a board is shown: choices among names, and budgets. A slider stands on the values that there are.
"use strict";

peftcorr.filters = (() => {
  const CHOICES = ["method", "backbone", "trained"];
  const BUDGETS = { params: peftcorr.count, seconds: peftcorr.duration, memory: peftcorr.memory, bytes: peftcorr.memory };
  const chosen = {}; // names by choice; null: all of them
  const values = {}; // by budget, rising
  const limits = {}; // by budget; null: none
  let changed = () => {};

  const element = (id) => document.getElementById(id);

  const fillChoice = (name, rows) => {
    const place = element(`choice-${name}`);
    const names = [...new Set(rows.map((row) => row[name]))].sort();
    const boxes = names.map((one, number) => {
      const label = document.createElement("label");
      const box = document.createElement("input");
      box.type = "checkbox";
      box.value = one;
      box.id = `${name}-${number}`;
      box.checked = chosen[name] === null || chosen[name].has(one);
      label.append(box, one === peftcorr.MISSING ? "(nothing)" : one);
      return label;
    });
    place.querySelector(".boxes").replaceChildren(...boxes);
    place.querySelector("button").hidden = names.length < 2;
    say(name);
  };

  const say = (name) => {
    const place = element(`choice-${name}`);
    const all = [...place.querySelectorAll("input")];
    const on = all.filter((box) => box.checked);
    const some = on.length === 1 ? on[0].parentElement.textContent : `${on.length} of ${all.length}`;
    place.querySelector(".said").textContent = on.length === all.length ? "all" : some;
  };

  const choose = (name) => {
    const boxes = [...element(`choice-${name}`).querySelectorAll("input")];
    const on = boxes.filter((box) => box.checked).map((box) => box.value);
    chosen[name] = on.length === boxes.length ? null : new Set(on);
    say(name);
    changed();
  };

  const fillBudget = (name, rows) => {
    values[name] = [...new Set(rows.map((row) => row[name]).filter((one) => one !== null))].sort((a, b) => a - b);
    const slider = element(`at-most-${name}`);
    slider.max = String(Math.max(values[name].length - 1, 0));
    const limit = limits[name];
    const fitting = values[name].filter((one) => limit === null || one <= limit).length;
    slider.value = String(limit === null ? slider.max : Math.max(fitting - 1, 0));
    slider.disabled = values[name].length < 2;
    spend(name);
  };

  const spend = (name) => {
    const slider = element(`at-most-${name}`);
    const place = Number(slider.value);
    const all = place >= values[name].length - 1;
    limits[name] = all ? null : values[name][place];
    const said = all ? "no limit" : limits[name] === 0 ? "0" : BUDGETS[name](limits[name]);
    element(`said-${name}`).textContent = said;
    slider.setAttribute("aria-valuetext", said);
  };

  const passes = (row) =>
    CHOICES.every((name) => chosen[name] === null || chosen[name].has(row[name])) &&
    Object.entries(limits).every(([name, limit]) => limit === null || (row[name] !== null && row[name] <= limit));

  // Fit the filters to the rows of a board; what was chosen stays.
  const fit = (rows) => {
    CHOICES.forEach((name) => fillChoice(name, rows));
    Object.keys(BUDGETS).forEach((name) => fillBudget(name, rows));
  };

  const forget = () => {
    CHOICES.forEach((name) => (chosen[name] = null));
    Object.keys(BUDGETS).forEach((name) => (limits[name] = null));
  };

  const start = (whenChanged) => {
    changed = whenChanged;
    CHOICES.forEach((name) => {
      const place = element(`choice-${name}`);
      place.addEventListener("change", () => choose(name));
      place.querySelector("button").addEventListener("click", () => {
        const boxes = [...place.querySelectorAll("input")];
        const all = boxes.every((box) => box.checked);
        boxes.forEach((box) => (box.checked = !all));
        choose(name);
      });
    });
    Object.keys(BUDGETS).forEach((name) =>
      element(`at-most-${name}`).addEventListener("input", () => {
        spend(name);
        changed();
      })
    );
  };

  forget();
  return { start, fit, forget, passes, limits };
})();

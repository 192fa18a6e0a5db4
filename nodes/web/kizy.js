// What Kizy's nodes show in ComfyUI's page: their explanation, a button to choose pictures, and
// one that unfolds what few people need.
import { app } from "../../scripts/app.js";
import { api } from "../../scripts/api.js";
import { ComfyWidgets } from "../../scripts/widgets.js";

const EXPLAINED = "kizy_told";
const PICTURES = ".zip,.png,.jpg,.jpeg,.webp,.gif,.bmp,.tif,.tiff,.heic";
const LINE = 14;
const MOST_LINES = 22;
// Lines of the explanation that have room in any case. It is there from the beginning: the page
// puts previews behind what is there.
const LINES = { KizyLoraByIntent: 8, KizyTrainLora: 2, KizyDetailer: 2 };

const WORDS = {
  en: {
    choose: "choose pictures or a zip",
    of: (number, all, name) => `${number} of ${all}: ${name}`,
    failed: "The pictures did not arrive",
    answered: (status) => `ComfyUI answered ${status}.`,
    more: "more options",
    fewer: "fewer options",
    KizyLoraByIntent: "After a run: what was picked, and why.",
    KizyTrainLora: "After a run: how it went.",
    KizyDetailer: "After a run: what was found.",
  },
  de: {
    choose: "Bilder oder Zip auswählen",
    of: (number, all, name) => `${number} von ${all}: ${name}`,
    failed: "Die Bilder sind nicht angekommen",
    answered: (status) => `ComfyUI hat mit ${status} geantwortet.`,
    more: "mehr Optionen",
    fewer: "weniger Optionen",
    KizyLoraByIntent: "Nach dem Ausführen: was gewählt wurde, und warum.",
    KizyTrainLora: "Nach dem Ausführen: wie es ging.",
    KizyDetailer: "Nach dem Ausführen: was gefunden wurde.",
  },
};

function words() {
  const locale = app.extensionManager?.setting?.get("Comfy.Locale") ?? "en";
  return WORDS[locale.split("-")[0]] ?? WORDS.en;
}

function say(severity, summary, detail) {
  app.extensionManager?.toast?.add({ severity, summary, detail, life: 8000 });
}

// The page shows the name of a text's input in it, in English; the label is translated.
function labelTexts(node) {
  for (const one of node.widgets ?? []) {
    const area = one.element ?? one.inputEl;
    if (area?.tagName === "TEXTAREA" && one.label) area.placeholder = one.label;
  }
}

function grow(node) {
  const least = node.computeSize();
  node.setSize([Math.max(least[0], node.size[0]), Math.max(least[1], node.size[1])]);
  app.graph?.setDirtyCanvas(true, true);
}

// Buttons and explanations are not part of the workflow.
function notSaved(widget) {
  widget.serialize = false;
  widget.options ??= {};
  widget.options.serialize = false;
  return widget;
}

// A read-only field below the others.
function addExplanation(node) {
  const made = ComfyWidgets.STRING(node, EXPLAINED, ["STRING", { multiline: true }], app);
  const widget = notSaved(made.widget);
  // The page makes a place for a link beside each widget; nothing can be linked to this one.
  const input = node.inputs?.findIndex((one) => one.widget?.name === EXPLAINED) ?? -1;
  if (input >= 0) node.removeInput(input);
  const area = widget.element ?? widget.inputEl;
  if (area) {
    area.readOnly = true;
    area.style.opacity = 0.8;
    area.placeholder = words()[node.comfyClass];
  }
  widget.options.getMinHeight = () => {
    const letters = Math.max(20, (node.size[0] - 50) / 5.6);
    const lines = String(widget.value ?? "").split("\n");
    const shown = lines.reduce((sum, line) => sum + Math.max(1, Math.ceil(line.length / letters)), 0);
    return Math.min(MOST_LINES, Math.max(LINES[node.comfyClass], shown)) * LINE + 12;
  };
}

function showText(node, text) {
  const widget = node.widgets?.find((one) => one.name === EXPLAINED);
  if (!widget) return;
  widget.value = text;
  requestAnimationFrame(() => grow(node));
}

async function problemOf(answer) {
  const said = await answer.json().catch(() => ({}));
  const why = [said.error?.message, said.error?.fix].filter(Boolean).join(" ");
  return new Error(why || words().answered(answer.status));
}

async function send(file, set) {
  const query = new URLSearchParams({ set, name: file.name });
  const answer = await api.fetchApi(`/kizy/pictures?${query}`, { method: "POST", body: file });
  if (answer.ok) return answer.json();
  // Kizy's route wants a key where others reach ComfyUI; ComfyUI's own takes what the page sends.
  if (answer.status !== 401 && answer.status !== 403) throw await problemOf(answer);
  const form = new FormData();
  const folder = `kizy/${set}`;
  form.append("image", file, file.name);
  form.append("subfolder", folder);
  const second = await api.fetchApi("/upload/image", { method: "POST", body: form });
  if (!second.ok) throw await problemOf(second);
  const kept = await second.json();
  return { name: `${kept.subfolder}/${kept.name}`, folder };
}

// One file is named itself, several by the folder in which they lie together.
async function upload(files, field, button) {
  const random = crypto.getRandomValues(new Uint8Array(8));
  const set = Array.from(random, (byte) => byte.toString(16).padStart(2, "0")).join("");
  let last;
  try {
    for (const [number, file] of files.entries()) {
      button.label = words().of(number + 1, files.length, file.name);
      app.graph.setDirtyCanvas(true, false);
      last = await send(file, set);
    }
    field.value = files.length === 1 ? last.name : last.folder;
  } catch (error) {
    say("error", words().failed, error.message);
  } finally {
    button.label = words().choose;
    app.graph.setDirtyCanvas(true, false);
  }
}

function addChooser(node) {
  const field = node.widgets?.find((one) => one.name === "files");
  if (!field) return;
  const chooser = document.createElement("input");
  Object.assign(chooser, { type: "file", accept: PICTURES, multiple: true });
  chooser.style.display = "none";
  const button = notSaved(node.addWidget("button", "kizy_choose", null, () => chooser.click()));
  button.label = words().choose;
  chooser.onchange = () => {
    const files = [...chooser.files];
    chooser.value = "";
    if (files.length) upload(files, field, button);
  };
  document.body.append(chooser);
  const removed = node.onRemoved;
  node.onRemoved = function (...args) {
    chooser.remove();
    return removed?.apply(this, args);
  };
}

// Folded widgets are not drawn; that they take no room has to be said to each.
function setRoom(node, folded) {
  for (const one of folded) {
    if (node.showAdvanced) delete one.computeSize;
    else one.computeSize = () => [0, -4];
  }
}

// Newer pages fold such widgets away by themselves, and have a button of their own for it.
function foldAdvanced(node) {
  const folded = node.widgets?.filter((one) => one.options?.advanced) ?? [];
  if (!folded.length || typeof node.toggleAdvanced !== "function") return;
  if (folded.every((one) => one.advanced)) return;
  for (const one of folded) one.advanced = true;
  setRoom(node, folded);
  const button = notSaved(node.addWidget("button", "kizy_more", null, () => node.toggleAdvanced()));
  const show = () => {
    setRoom(node, folded);
    button.label = node.showAdvanced ? words().fewer : words().more;
  };
  show();
  const configured = node.onConfigure;
  node.onConfigure = function (...args) {
    const result = configured?.apply(this, args);
    show();
    return result;
  };
  node.toggleAdvanced = function () {
    const before = this.computeSize()[1];
    this.showAdvanced = !this.showAdvanced;
    show();
    const change = this.computeSize()[1] - before;
    this.setSize([this.size[0], this.size[1] + change]);
    grow(this);
  };
}

app.registerExtension({
  name: "Kizy.Nodes",
  async beforeRegisterNodeDef(nodeType, nodeData) {
    if (!nodeData.name?.startsWith("Kizy")) return;
    const executed = nodeType.prototype.onExecuted;
    nodeType.prototype.onExecuted = function (message, ...rest) {
      executed?.call(this, message, ...rest);
      const text = message?.text;
      if (text) showText(this, Array.isArray(text) ? text.join("\n") : String(text));
    };
  },
  nodeCreated(node) {
    if (!node.comfyClass?.startsWith("Kizy")) return;
    labelTexts(node);
    if (node.comfyClass === "KizyTrainLora") addChooser(node);
    foldAdvanced(node);
    if (node.comfyClass in LINES) addExplanation(node);
    grow(node);
  },
});

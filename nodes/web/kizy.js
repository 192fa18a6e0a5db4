// What Kizy's nodes show in ComfyUI's page: their explanation and how they get on, a button to choose
// pictures, and one that unfolds what few people need.
import { app } from "../../scripts/app.js";
import { api } from "../../scripts/api.js";
import { ComfyWidgets } from "../../scripts/widgets.js";

const EXPLAINED = "kizy_told";
const PICTURES =
  ".zip,.png,.apng,.jpg,.jpeg,.jfif,.mpo,.webp,.gif,.tif,.tiff,.bmp,.avif,.heic,.heif,.jp2";
const LINE = 14;
const MOST_LINES = 22;
// Lines of the place at the node's bottom. It is there from the beginning and holds the explanation,
// and above the page's previews as many lines as they leave: so the node keeps its size.
const LINES = { KizyLoraByIntent: 8, KizyTrainLora: 9, KizyDetailer: 8 };
const LINES_BESIDE_PICTURE = 3;
// The page's own widget for previews (useNodeCanvasImagePreview).
const PREVIEW = "$$canvas-image-preview";

const WORDS = {
  en: {
    choose: "choose pictures or a zip",
    of: (number, all, name) => `${number} of ${all}: ${name}`,
    failed: "The pictures did not arrive",
    answered: (status) => `ComfyUI answered ${status}.`,
    large: "The file is too large for this ComfyUI: start it with a larger --max-upload-size.",
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
    large: "Die Datei ist für dieses ComfyUI zu groß: starte es mit einem größeren --max-upload-size.",
    more: "mehr Optionen",
    fewer: "weniger Optionen",
    KizyLoraByIntent: "Nach dem Ausführen: was gewählt wurde, und warum.",
    KizyTrainLora: "Nach dem Ausführen: wie es ging.",
    KizyDetailer: "Nach dem Ausführen: was gefunden wurde.",
  },
  zh: {
    choose: "选择图片或 zip",
    of: (number, all, name) => `第 ${number} 个，共 ${all} 个：${name}`,
    failed: "图片没有送达",
    answered: (status) => `ComfyUI 返回了 ${status}。`,
    large: "文件对这个 ComfyUI 来说太大：请用更大的 --max-upload-size 启动它。",
    more: "更多选项",
    fewer: "收起选项",
    KizyLoraByIntent: "运行后：选了什么，以及为什么。",
    KizyTrainLora: "运行后：训练情况。",
    KizyDetailer: "运行后：找到了什么。",
  },
};

function words() {
  const locale = app.extensionManager?.setting?.get("Comfy.Locale") ?? "en";
  return WORDS[locale] ?? WORDS.en;
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
    if (isPictured(node)) return LINES_BESIDE_PICTURE * LINE + 12;
    const letters = Math.max(20, (node.size[0] - 50) / 5.6);
    const lines = String(widget.value ?? "").split("\n");
    const shown = lines.reduce((sum, line) => sum + Math.max(1, Math.ceil(line.length / letters)), 0);
    return Math.min(MOST_LINES, Math.max(LINES[node.comfyClass], shown)) * LINE + 12;
  };
  // What more room a larger node has is the picture's.
  widget.options.getMaxHeight = () => (isPictured(node) ? widget.options.getMinHeight() : undefined);
  keepRoomForPreviews(node);
}

function isPictured(node) {
  return node.widgets?.some((one) => one.name === PREVIEW) ?? false;
}

// The page's widget for previews would make the node larger by its own least height.
function keepRoomForPreviews(node) {
  const add = node.addCustomWidget;
  node.addCustomWidget = function (widget, ...rest) {
    const added = add.call(this, widget, ...rest);
    if (widget.name === PREVIEW) {
      const lines = LINES[this.comfyClass] - LINES_BESIDE_PICTURE;
      (added ?? widget).computeLayoutSize = () => ({ minHeight: lines * LINE - 4, minWidth: 1 });
    }
    return added;
  };
}

// What the sampler showed last of a part says nothing once the whole picture is there.
function removePreview(node) {
  const at = node.widgets?.findIndex((one) => one.name === PREVIEW) ?? -1;
  node.imgs = undefined;
  if (at < 0) return;
  node.widgets[at].onRemove?.();
  node.widgets.splice(at, 1);
  app.graph?.setDirtyCanvas(true, true);
}

function showText(node, text) {
  const widget = node.widgets?.find((one) => one.name === EXPLAINED);
  if (!widget) return;
  widget.value = text;
  requestAnimationFrame(() => grow(node));
}

// "12:5" is node 5 of the subgraph that node 12 is.
function nodeOf(id) {
  let graph = app.graph, node;
  for (const part of String(id).split(":")) {
    node = graph?.getNodeById(Number(part));
    graph = node?.subgraph;
  }
  return node;
}

async function problemOf(answer) {
  const said = await answer.json().catch(() => ({}));
  const why = [said.error?.message, said.error?.fix].filter(Boolean).join(" ");
  const otherwise = answer.status === 413 ? words().large : words().answered(answer.status);
  return new Error(why || otherwise);
}

// Kizy's route wants a key where others reach ComfyUI; ComfyUI's own takes what the page sends, up
// to its --max-upload-size. It is asked first: a refusal that comes while a large file is on its way
// breaks the connection.
async function sender() {
  const answer = await api.fetchApi("/kizy/pictures");
  return answer.ok ? sendToKizy : sendToComfyUI;
}

async function sendToKizy(file, set) {
  const query = new URLSearchParams({ set, name: file.name });
  const answer = await api.fetchApi(`/kizy/pictures?${query}`, { method: "POST", body: file });
  if (!answer.ok) throw await problemOf(answer);
  return answer.json();
}

async function sendToComfyUI(file, set) {
  const form = new FormData();
  const folder = `kizy/${set}`;
  form.append("image", file, file.name);
  form.append("subfolder", folder);
  const answer = await api.fetchApi("/upload/image", { method: "POST", body: form });
  if (!answer.ok) throw await problemOf(answer);
  const kept = await answer.json();
  return { name: `${kept.subfolder}/${kept.name}`, folder };
}

// One file is named itself, several by the folder in which they lie together.
async function upload(files, field, button) {
  const random = crypto.getRandomValues(new Uint8Array(8));
  const set = Array.from(random, (byte) => byte.toString(16).padStart(2, "0")).join("");
  let last;
  try {
    const send = await sender();
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
  setup() {
    api.addEventListener("kizy.told", ({ detail }) => {
      const node = nodeOf(detail.node);
      if (node?.comfyClass in LINES) showText(node, detail.text);
    });
  },
  async beforeRegisterNodeDef(nodeType, nodeData) {
    if (!nodeData.name?.startsWith("Kizy")) return;
    const executed = nodeType.prototype.onExecuted;
    nodeType.prototype.onExecuted = function (message, ...rest) {
      executed?.call(this, message, ...rest);
      const text = message?.text;
      if (text) showText(this, Array.isArray(text) ? text.join("\n") : String(text));
      // The last preview may still be on its way.
      if (this.comfyClass === "KizyDetailer") {
        for (const wait of [0, 500, 1500]) setTimeout(() => removePreview(this), wait);
      }
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

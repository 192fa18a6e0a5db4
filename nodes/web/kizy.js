// What Kizy's nodes show in ComfyUI's page: their explanation, and a button to choose pictures.
import { app } from "../../scripts/app.js";
import { api } from "../../scripts/api.js";
import { ComfyWidgets } from "../../scripts/widgets.js";

const EXPLAINED = "kizy_told";
const PICTURES = ".zip,.png,.jpg,.jpeg,.webp,.gif,.bmp,.tif,.tiff,.heic";

function say(severity, summary, detail) {
  app.extensionManager?.toast?.add({ severity, summary, detail, life: 8000 });
}

// A read-only field below the others. It is not part of the workflow.
function showText(node, text) {
  let widget = node.widgets?.find((one) => one.name === EXPLAINED);
  if (!widget) {
    const made = ComfyWidgets.STRING(node, EXPLAINED, ["STRING", { multiline: true }], app);
    widget = made.widget;
    widget.serialize = false;
    widget.options.serialize = false;
    if (widget.inputEl) {
      widget.inputEl.readOnly = true;
      widget.inputEl.style.opacity = 0.8;
    }
  }
  widget.value = text;
  requestAnimationFrame(() => {
    const size = node.computeSize();
    node.setSize([Math.max(size[0], node.size[0], 360), Math.max(size[1], node.size[1])]);
    app.graph.setDirtyCanvas(true, false);
  });
}

async function send(file, set) {
  const query = new URLSearchParams({ set, name: file.name });
  const answer = await api.fetchApi(`/kizy/pictures?${query}`, { method: "POST", body: file });
  const said = await answer.json().catch(() => ({}));
  if (!answer.ok) {
    const problem = said.error ?? {};
    const why = [problem.message, problem.fix].filter(Boolean).join(" ");
    throw new Error(why || `ComfyUI answered ${answer.status}.`);
  }
  return said;
}

// One file is named itself, several by the folder in which they lie together.
async function upload(files, field, button) {
  const label = button.label ?? button.name;
  const random = crypto.getRandomValues(new Uint8Array(8));
  const set = Array.from(random, (byte) => byte.toString(16).padStart(2, "0")).join("");
  let last;
  try {
    for (const [number, file] of files.entries()) {
      button.label = `${number + 1} of ${files.length}: ${file.name}`;
      app.graph.setDirtyCanvas(true, false);
      last = await send(file, set);
    }
    field.value = files.length === 1 ? last.name : last.folder;
  } catch (error) {
    say("error", "The pictures did not arrive", error.message);
  } finally {
    button.label = label;
    app.graph.setDirtyCanvas(true, false);
  }
}

function addButton(node) {
  const field = node.widgets?.find((one) => one.name === "files");
  if (!field) return;
  const chooser = document.createElement("input");
  Object.assign(chooser, { type: "file", accept: PICTURES, multiple: true });
  chooser.style.display = "none";
  const button = node.addWidget("button", "choose pictures or a zip", null, () => chooser.click());
  button.serialize = false;
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
    if (nodeData.name !== "KizyTrainLora") return;
    const created = nodeType.prototype.onNodeCreated;
    nodeType.prototype.onNodeCreated = function (...args) {
      const result = created?.apply(this, args);
      addButton(this);
      return result;
    };
  },
});

"""What the bundled workflows say about themselves, in Markdown, and their first prompts."""

from __future__ import annotations

FIRST_NOTE = """
**Your first picture, without any download.**

1. Press **Run**.
2. After some seconds the picture shows at the right. It is saved in ComfyUI's folder `output/Kizy`.
3. Write something else under *Prompt* and press **Run** again. Every run draws a new picture.

Kizy's starter is a small model for trying things out. It draws one or two everyday things, such as
animals, food, faces or vehicles, on one colour: *a lemon, flat sticker* or *a ghost on a black
background, cartoon*. It knows three styles: *3d render*, *flat sticker* and *cartoon*.

It draws 128 x 128 pixels; step 4 makes 512 x 512 of them.
"""

SDXL_PROMPT = "a lighthouse on a cliff at sunset, long shadows, oil painting"

SDXL_NOTE = """
**A picture from words, with Stable Diffusion XL.**

1. Get the file below, once (6.9 GB).
2. Write under *Prompt* what you want to see, in phrases with commas between them.
3. Press **Run**.

*Negative prompt*: what you do not want, such as *blurry, text*. It may stay empty.

Other sizes that SDXL is good at: 896 x 1152, 1152 x 896, 1344 x 768, 768 x 1344.

Any other SDXL checkpoint works, too: choose it in step 1.
"""

FLUX_PROMPT = (
    "A small bookshop on a rainy evening. Warm light falls through its window onto the wet street, "
    'and a wooden sign above the door reads "OPEN".'
)

FLUX_NOTE = """
**A picture from words, with FLUX.1-schnell.**

1. Get the file below, once (17 GB).
2. Write under *Prompt* what you want to see, in whole sentences.
3. Press **Run**. It needs 4 steps only.

This model reads no negative prompt, so it gets an empty one; leave *cfg* at 1.

Other sizes that it is good at: 896 x 1152, 1152 x 896, 1344 x 768, 768 x 1344.
"""

IMAGE_NOTE = """
**A new picture that begins with one of yours.** It works without any download.

1. Choose your picture in step 2, or drop it there.
2. Write under *Prompt* what it shall become.
3. Press **Run**.

*denoise* in step 4 says how much may change: 0.3 keeps nearly all, 0.9 keeps hardly more than the
colours.

For another model choose its checkpoint in step 1, set its size in *Fit to drawing size* (1024 x
1024 for SDXL), its *steps* and *cfg* in step 4, and link *Decode picture* directly to *Save
picture*.
"""

INPAINT_NOTE = """
**Draw a part of your picture anew.** It works without any download.

1. Choose your picture in step 2, or drop it there.
2. Right-click the picture, choose **Open in MaskEditor**, paint over what shall change, press
   **Save**.
3. Write under *Prompt* what shall be there.
4. Press **Run**.

All that you did not paint over stays as it was, pixel by pixel. While nothing is painted, nothing
changes at all. Does a picture have transparent parts? Those count as painted.

The starter draws small, so paint large parts. For another model choose its checkpoint in step 1,
set its size in *Fit to drawing size* (1024 x 1024 for SDXL), and its *steps* and *cfg* in step 4.
"""

CONTROL_NOTE = """
**The outlines of a picture lead a new one.**

1. Get the two files below, once (9.5 GB).
2. Choose your picture in step 2, or drop it there.
3. Write under *Prompt* what you want to see.
4. Press **Run**.

*The edges* shows what the model sees of your picture. Too many lines? Raise both thresholds of
*Find edges*; too few: lower them.

*strength* in step 4 says how closely the edges are followed; with *end_percent* below 1 the last
steps are free.
"""

ENLARGE_NOTE = """
**Your picture at 4 times its width and height.** It works without any download.

1. Choose your picture in step 2, or drop it there.
2. Press **Run**.

Kizy's enlarger is small and fast, and best for drawings with clean outlines. For photographs get
[RealESRGAN_x4plus.safetensors](https://huggingface.co/Comfy-Org/Real-ESRGAN_repackaged/resolve/main/RealESRGAN_x4plus.safetensors)
into `models/upscale_models`, press R, and choose it in *Load enlarger*.
"""

CHOOSE_NOTE = """
**Write what you want; Kizy picks the LoRAs that fit.** It works without any download.

1. Put LoRAs into `models/loras`, or train one with *Train a LoRA from photos*.
2. Choose their model in step 1. LoRAs of another family are left alone.
3. Write what you want to see in *Kizy LoRA by Intent*.
4. Press **Run**.

The node says what it picked and why, and what it looked at besides. A LoRA that you always want
goes under *pinned*, as `NAME` or `NAME:0.8`. *strength* makes all of them weaker or stronger.

For another model than the starter set its size in *Size of the picture* (1024 x 1024 for SDXL),
and its *steps* and *cfg* in step 3.
"""

TRAIN_NOTE = """
**Pictures, a name and a few words become a LoRA.** For the starter it works without any download.

1. Press **choose pictures or a zip** in *Kizy Train LoRA*; 10 to 40 pictures are good.
2. Give it a name, and say what the pictures show.
3. Press **Run**. The node shows the step, the loss and the time left.

**Cancel** keeps what there is; **Run** goes on from there. When it is done, the LoRA is in all of
ComfyUI's lists, and *Choose my LoRAs* picks it by itself where it fits.

Training needs diffusers, peft and accelerate. If ComfyUI's Python lacks them, install Kizy beside
it and set `KIZY_PYTHON` to that Python: the node says so.
"""

FACES_NOTE = """
**Small or blurred faces are drawn again, in detail.** It works without any download.

1. Choose your picture in step 2, or drop it there.
2. Say in step 3 what its faces are like.
3. Press **Run**.

*What was found* shows each face: green is drawn again, grey was left, for it is too small or
sharp already. *amount* says how much may change. Under *prompts* each face can have a line of its
own, from left to right.

The starter draws icons and stickers. For photographs choose the model that drew yours in step 1.
"""

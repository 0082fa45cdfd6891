"""Records the tensors of one pipeline run under the names the C++ tests use.

Activations are saved as fp32 rows x channels, feature maps as [H, W, C], without batch and time dimensions.
"""

import contextlib
import functools

import numpy as np
import torch
from safetensors.torch import save_file


def rows(tensor):
    """[1, N, C] -> [N, C]; tensors without a batch dimension pass."""
    return tensor[0] if tensor.dim() == 3 else tensor


def feature_map(tensor):
    """[1, C, (1,) H, W] -> [H, W, C]."""
    if tensor.dim() == 5:
        tensor = tensor[:, :, 0]
    return tensor[0].permute(1, 2, 0)


class Recorder:
    def __init__(self):
        self.tensors = {}

    def add(self, name, tensor):
        if name in self.tensors:
            raise RuntimeError(f"{name} recorded twice")
        tensor = torch.as_tensor(np.array(tensor) if not isinstance(tensor, torch.Tensor) else tensor).detach()
        if tensor.is_floating_point():
            tensor = tensor.to(torch.float32)
        self.tensors[name] = tensor.clone().contiguous()

    def save(self, path, keep=None):
        kept = {k: v for k, v in self.tensors.items() if keep is None or keep(k)}
        save_file(kept, path)


def _first(output):
    return output[0] if isinstance(output, (tuple, list)) else output


class _Wrapped:
    """Replaces a bound method by one that reports its result, until closed."""

    def __init__(self, owner, name, report):
        self.owner, self.name = owner, name
        self.previous = vars(owner).get(name)
        original = getattr(owner, name)

        @functools.wraps(original)
        def call(*args, **kwargs):
            result = original(*args, **kwargs)
            report(result, *args, **kwargs)
            return result

        setattr(owner, name, call)

    def close(self):
        delattr(self.owner, self.name)
        if self.previous is not None:
            setattr(self.owner, self.name, self.previous)


class PipelineTrace:
    """Hooks for one run of a pipeline with a single prompt.

    Only the first text-encoder run (the positive prompt) and the first transformer run (step 0, positive) are traced
    in depth.
    """

    def __init__(self, pipe, recorder):
        self.pipe, self.rec = pipe, recorder
        self.open = contextlib.ExitStack()
        self.text_runs = self.transformer_runs = self.vae_encodes = self.vae_decodes = self.steps = 0
        self.cfg = False

    def __enter__(self):
        self._text_encoder()
        self._transformer()
        self._vae()
        self._loop()
        return self

    def __exit__(self, *exc):
        self.open.close()

    def _hook(self, module, function):
        handle = module.register_forward_hook(function, with_kwargs=True)
        self.open.callback(handle.remove)

    def _wrap(self, owner, name, report):
        self.open.callback(_Wrapped(owner, name, report).close)

    # text encoder and vision tower

    def _text_encoder(self):
        model = self.pipe.text_encoder.model

        def when_first(name, shape=rows):
            def hook(module, args, kwargs, output):
                if self.text_runs == 0:
                    self.rec.add(name, shape(_first(output)))

            return hook

        language = model.language_model

        def before_language(module, args, kwargs):
            if self.text_runs == 0:
                embeds = kwargs["inputs_embeds"]
                position = kwargs.get("position_ids")
                if position is None:
                    position = torch.arange(embeds.shape[1]).view(1, 1, -1).expand(3, 1, -1)
                self.rec.add("position_ids", position[:, 0])
                self.rec.add("text_encoder.embed_tokens", rows(embeds))

        handle = language.register_forward_pre_hook(before_language, with_kwargs=True)
        self.open.callback(handle.remove)
        for i, layer in enumerate(language.layers):
            self._hook(layer, when_first(f"text_encoder.layers.{i}"))
        self._hook(language.norm, when_first("text_encoder.norm"))

        visual = model.visual

        def split(tensor, divide=1):
            counts = [int(n) // divide for n in self.grid.prod(dim=1)]
            return torch.split(tensor, counts)

        def per_picture(name, divide=1, pick=_first):
            def hook(module, args, kwargs, output):
                if self.text_runs == 0:
                    for i, part in enumerate(split(pick(output), divide)):
                        self.rec.add(f"{name}.{i}", part)

            return hook

        def before_visual(module, args, kwargs):
            self.grid = kwargs.get("grid_thw", args[1] if len(args) > 1 else None)
            if self.text_runs == 0:
                self.rec.add("visual.grid_thw", self.grid)
                for i, part in enumerate(split(args[0] if args else kwargs["hidden_states"])):
                    self.rec.add(f"visual.pixel_values.{i}", part)

        handle = visual.register_forward_pre_hook(before_visual, with_kwargs=True)
        self.open.callback(handle.remove)
        self._hook(visual.patch_embed, per_picture("visual.patch_embed"))
        for i, block in enumerate(visual.blocks):
            self._hook(block, per_picture(f"visual.blocks.{i}"))
        self._hook(visual, per_picture("visual.merger", 4, lambda output: output.pooler_output))

        def after_text(result, *args, input_ids, attention_mask, **kwargs):
            prefix = "" if self.text_runs == 0 else "negative_"
            self.rec.add(prefix + "input_ids", input_ids[0][attention_mask[0].bool()])
            self.text_runs += 1

        self._wrap(self.pipe.text_encoder, "forward", after_text)

        def after_prompt(result, *args, **kwargs):
            self.rec.add("prompt_embeds" if self.text_runs == 1 else "negative_prompt_embeds", rows(result[0]))
            self.cfg = self.text_runs == 2

        self._wrap(self.pipe, "encode_prompt", after_prompt)

    # transformer

    def _transformer(self):
        model = self.pipe.transformer
        trace_transformer(model, self.rec, self._hook, lambda: self.transformer_runs == 0)

        def after(module, args, kwargs, output):
            step, negative = divmod(self.transformer_runs, 2) if self.cfg else (self.transformer_runs, 0)
            if self.cfg:
                name = "noise_pred_negative" if negative else "noise_pred_positive"
                self.rec.add(f"{name}.{step}", rows(_first(output))[: self.noise_tokens])
            self.transformer_runs += 1

        self._hook(model, after)

    # VAE

    def _vae(self):
        vae = self.pipe.vae

        def encoder_hook(name):
            def hook(module, args, kwargs, output):
                self.rec.add(f"vae.encoder.{name}.{self.vae_encodes}", feature_map(_first(output)))

            return hook

        def decoder_hook(name):
            def hook(module, args, kwargs, output):
                self.rec.add(f"vae.decoder.{name}", feature_map(_first(output)))

            return hook

        tiled = vae.use_tiling
        if not tiled:
            encoder, decoder = vae.encoder, vae.decoder
            for name in ("conv_in", "mid_block", "conv_out"):
                self._hook(getattr(encoder, name), encoder_hook(name))
                self._hook(getattr(decoder, name), decoder_hook(name))
            for i, block in enumerate(encoder.down_blocks):
                self._hook(block, encoder_hook(f"down_blocks.{i}"))
            for i, block in enumerate(decoder.up_blocks):
                self._hook(block, decoder_hook(f"up_blocks.{i}"))

        def after_encode(result, image, *args, **kwargs):
            i = self.vae_encodes
            self.rec.add(f"vae.encoder.input.{i}", feature_map(image))
            byte = (image[0, :, 0].permute(1, 2, 0) * 0.5 + 0.5) * 255
            self.rec.add(f"vae_image.{i}", byte.round().to(torch.uint8))
            mean = result.latent_dist.mode()
            config = vae.config
            shape = (1, -1, 1, 1, 1)
            mean = (mean - torch.tensor(config.latents_mean).view(shape)) / torch.tensor(config.latents_std).view(shape)
            h, w = mean.shape[-2:]
            self.rec.add(f"image_latents.{i}", rows(self.pipe._pack_latents(mean, 1, config.z_dim, h, w)))
            self.vae_encodes += 1

        def after_decode(result, latents, *args, **kwargs):
            self.rec.add("vae.decoder.input", feature_map(latents))
            self.rec.add("vae.decoder.output", feature_map(_first(result)))
            self.vae_decodes += 1

        self._wrap(vae, "encode", after_encode)
        self._wrap(vae, "decode", after_decode)

    # sampling loop

    def _loop(self):
        def after_prepare(result, *args, **kwargs):
            latents = result[0] if isinstance(result, tuple) else result
            self.noise_tokens = latents.shape[1]
            self.rec.add("noise", rows(latents))

        self._wrap(self.pipe, "prepare_latents", after_prepare)

        def after_step(result, noise_pred, *args, **kwargs):
            self.rec.add(f"noise_pred.{self.steps}", rows(noise_pred))
            self.rec.add(f"latents.{self.steps}", rows(_first(result)))
            self.steps += 1

        self._wrap(self.pipe.scheduler, "step", after_step)

    def finish(self):
        self.rec.add("sigmas", self.pipe.scheduler.sigmas)
        self.rec.add("timesteps", self.pipe.scheduler.timesteps)


class BatchTrace:
    """Per-image inputs and results of a run with several prompts; names end in the image number."""

    def __init__(self, pipe, recorder):
        self.pipe, self.rec = pipe, recorder
        self.open = contextlib.ExitStack()
        self.steps = self.prompts = self.texts = 0

    def each(self, name, tensor):
        for i, item in enumerate(tensor):
            self.rec.add(f"{name}.{i}", item)

    def __enter__(self):
        def wrap(owner, name, report):
            self.open.callback(_Wrapped(owner, name, report).close)

        def after_text(result, *args, input_ids, attention_mask, **kwargs):
            self.lengths = [int(n) - 34 for n in attention_mask.sum(dim=1)]
            prefix = "negative_" if self.texts else ""
            self.each(prefix + "input_ids", [ids[mask.bool()] for ids, mask in zip(input_ids, attention_mask)])
            self.texts += 1

        def after_prompt(result, *args, **kwargs):
            prefix = "negative_" if self.prompts else ""
            self.each(prefix + "prompt_embeds", [e[:n] for e, n in zip(result[0], self.lengths)])
            self.prompts += 1

        def after_step(result, noise_pred, *args, **kwargs):
            self.each(f"noise_pred.{self.steps}", noise_pred)
            self.each(f"latents.{self.steps}", _first(result))
            self.steps += 1

        wrap(self.pipe.text_encoder, "forward", after_text)
        wrap(self.pipe, "encode_prompt", after_prompt)
        wrap(self.pipe, "prepare_latents", lambda result, *a, **k: self.each("noise", result))
        wrap(self.pipe.scheduler, "step", after_step)
        return self

    def __exit__(self, *exc):
        self.open.close()


def trace_transformer(model, rec, hook, active):
    """Registers the hooks of one transformer forward; `hook(module, function)` keeps the handles."""

    def plain(name):
        def function(module, args, kwargs, output):
            if active():
                rec.add(f"transformer.{name}", rows(output))

        return function

    def temb(module, args, kwargs, output):
        if active():
            rec.add("transformer.temb", output[0])
            if model.zero_cond_t:
                rec.add("transformer.temb_zero", output[-1])

    def block(i):
        def function(module, args, kwargs, output):
            if active():
                rec.add(f"transformer.transformer_blocks.{i}.txt", rows(output[0]))
                rec.add(f"transformer.transformer_blocks.{i}.img", rows(output[1]))

        return function

    for name in ("img_in", "txt_in", "norm_out", "proj_out"):
        hook(getattr(model, name), plain(name))
    hook(model.time_text_embed, temb)
    for i, module in enumerate(model.transformer_blocks):
        hook(module, block(i))

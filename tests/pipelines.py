"""Tiny pipelines with random weights, real in all but what they have learned; saved to folders.

Needs the extra `diffusion`. The weights are drawn with a fixed seed, so that a test can rely on
what they make. As a program it saves those of the tests: `python tests/pipelines.py FOLDER`.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import torch
from diffusers import (
    AutoencoderKL,
    AutoencoderKLLTXVideo,
    DDIMScheduler,
    DDPMPipeline,
    DDPMScheduler,
    FlowMatchEulerDiscreteScheduler,
    LTXPipeline,
    LTXVideoTransformer3DModel,
    StableDiffusionPipeline,
    UNet2DConditionModel,
    UNet2DModel,
)
from transformers import (
    CLIPTextConfig,
    CLIPTextModel,
    CLIPTokenizer,
    T5Config,
    T5EncoderModel,
    T5TokenizerFast,
)


def save_pictures(folder: Path, seed: int = 0, channels: tuple[int, int] = (32, 64)) -> Path:
    """A `StableDiffusionPipeline` for pictures of 64 x 64 pixels."""
    torch.manual_seed(seed)
    pipe = StableDiffusionPipeline(
        unet=_unet(channels),
        vae=_decoder(),
        text_encoder=_text_encoder(),
        tokenizer=_tokenizer(),
        scheduler=DDIMScheduler(beta_schedule="scaled_linear", clip_sample=False, steps_offset=1),
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    )
    pipe.save_pretrained(folder)
    return folder


def save_films(folder: Path, seed: int = 0) -> Path:
    """An `LTXPipeline`: 8k + 1 frames with sides that are multiples of 32."""
    torch.manual_seed(seed)
    pipe = LTXPipeline(
        transformer=_film_transformer(),
        vae=_film_decoder(),
        text_encoder=T5EncoderModel(T5Config(
            vocab_size=128, d_model=32, d_kv=8, d_ff=32, num_layers=2, num_heads=4
        )),
        tokenizer=T5TokenizerFast(vocab=[(piece, 0.0) for piece in _pieces()], extra_ids=0),
        scheduler=FlowMatchEulerDiscreteScheduler(),
    )  # fmt: skip
    pipe.save_pretrained(folder)
    return folder


def save_noise(folder: Path, seed: int = 0) -> Path:
    """A `DDPMPipeline`: takes no words and no size, and calls nobody back."""
    torch.manual_seed(seed)
    unet = UNet2DModel(
        sample_size=32,
        block_out_channels=(16, 32),
        layers_per_block=1,
        norm_num_groups=8,
        down_block_types=("DownBlock2D", "AttnDownBlock2D"),
        up_block_types=("AttnUpBlock2D", "UpBlock2D"),
    )
    DDPMPipeline(unet=unet, scheduler=DDPMScheduler()).save_pretrained(folder)
    return folder


def save_lora(folder: Path, pipeline: Path, seed: int = 0) -> Path:
    """A LoRA of a picture pipeline, strong enough to be seen."""
    from peft import LoraConfig
    from peft.utils import get_peft_model_state_dict

    torch.manual_seed(seed)
    unet: Any = UNet2DConditionModel.from_pretrained(pipeline, subfolder="unet")
    unet.add_adapter(LoraConfig(r=4, init_lora_weights=False, target_modules=["to_q", "to_v"]))
    StableDiffusionPipeline.save_lora_weights(
        folder, unet_lora_layers=get_peft_model_state_dict(unet)
    )
    return folder


def _unet(channels: tuple[int, int]) -> Any:
    return UNet2DConditionModel(
        sample_size=8,
        block_out_channels=channels,
        layers_per_block=1,
        down_block_types=("DownBlock2D", "CrossAttnDownBlock2D"),
        up_block_types=("CrossAttnUpBlock2D", "UpBlock2D"),
        cross_attention_dim=32,
        attention_head_dim=4,
        norm_num_groups=8,
    )


def _decoder() -> Any:
    return AutoencoderKL(
        block_out_channels=(16, 16, 32, 32),
        down_block_types=("DownEncoderBlock2D",) * 4,
        up_block_types=("UpDecoderBlock2D",) * 4,
        latent_channels=4,
        norm_num_groups=8,
        sample_size=64,
    )


def _text_encoder() -> Any:
    return CLIPTextModel(
        CLIPTextConfig(
            vocab_size=514,
            hidden_size=32,
            intermediate_size=64,
            num_hidden_layers=2,
            num_attention_heads=4,
            max_position_embeddings=77,
            bos_token_id=512,
            eos_token_id=513,
            pad_token_id=513,
        )
    )


def _tokenizer() -> Any:
    """Letter by letter."""
    letters = _letters()
    words = [*letters, *(f"{letter}</w>" for letter in letters)]
    words += ["<|startoftext|>", "<|endoftext|>"]
    vocabulary = {word: number for number, word in enumerate(words)}
    return CLIPTokenizer(vocab=vocabulary, merges=[], model_max_length=77)


def _letters() -> list[str]:
    """A visible letter for each of the 256 bytes, as these tokenizers have it."""
    seen = [*range(33, 127), *range(161, 173), *range(174, 256)]
    hidden = [byte for byte in range(256) if byte not in seen]
    return [chr(byte) for byte in seen] + [chr(256 + number) for number in range(len(hidden))]


def _pieces() -> list[str]:
    return ["<pad>", "</s>", "<unk>", "▁", *(chr(code) for code in range(33, 127))]


def _film_transformer() -> Any:
    return LTXVideoTransformer3DModel(
        in_channels=8,
        out_channels=8,
        num_attention_heads=4,
        attention_head_dim=8,
        cross_attention_dim=32,
        num_layers=1,
        caption_channels=32,
    )


def _film_decoder() -> Any:
    return AutoencoderKLLTXVideo(
        latent_channels=8,
        block_out_channels=(8, 8, 8, 8),
        decoder_block_out_channels=(8, 8, 8, 8),
        layers_per_block=(1, 1, 1, 1, 1),
        decoder_layers_per_block=(1, 1, 1, 1, 1),
        spatio_temporal_scaling=(True, True, True, False),
        decoder_spatio_temporal_scaling=(True, True, True, False),
        decoder_inject_noise=(False,) * 5,
        upsample_residual=(False,) * 4,
        upsample_factor=(1, 1, 1, 1),
        timestep_conditioning=False,
        patch_size=4,
        patch_size_t=1,
        encoder_causal=True,
        decoder_causal=False,
    )


def save_all(folder: Path) -> None:
    """Those of the tests."""
    save_pictures(folder / "pictures")
    save_pictures(folder / "others", seed=1)
    save_films(folder / "films")
    save_noise(folder / "noise")
    save_lora(folder / "lora", folder / "pictures")


if __name__ == "__main__":
    save_all(Path(sys.argv[1]))

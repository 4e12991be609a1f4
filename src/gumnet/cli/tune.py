"""``gumnet tune``."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Literal

from gumnet.cli.options import COMMON, OUTPUT, READING, Common, Flag, Output, Reading, bad_list_beside, say
from gumnet.errors import InputError


def tune(
    particles: Path | None = None,
    *,
    out: Path,
    other: Path | None = None,
    init: Path | None = None,
    network: Literal["matched", "gumnet"] = "matched",
    steps: int | None = None,
    minutes: float | None = None,
    judged_on: Literal["truth", "search"] = "truth",
    both_ways: Flag = False,
    tensorboard: Flag = False,
    resume: Flag = False,
    common: Common = COMMON,
    output: Output = OUTPUT,
    reading: Reading = READING,
) -> None:
    """Tune the filter of --method matched on one's own particles, without poses or labels.

    Example
        gumnet tune run_optimisation_set.star --out tuned
        gumnet tune even.star --other odd.star --out tuned
        gumnet tune --out new
        gumnet tune --out new --network gumnet --device cuda --minutes 6

    The particles must have 2D tilt stacks, as RELION 5 and Warp write them: their even
    and odd tilts hold the same density with independent noise. Or they are volumes, each
    twice: out of a tomogram of the even tilts or frames and out of one of the odd ones
    (--other), in the same order, place and orientation. Half of the particles
    are trained on, and the other half judges: OUT/model.safetensors is the tuned filter
    only if it tells the true rotation better there than the one it started from, by more
    than chance would have it. tuning.json says by how much.

    Without PARTICLES a new filter is trained on simulated ones, as those that ship were.

    Parameters
    ----------
    particles
        Particle table with tilt stacks, or of volumes with --other.
    out
        Folder of the run.
    other
        Table of the same particles out of the other half tomogram.
    init
        Filter to start from; unless given, the one that ships to tune, and none to train
        anew.
    network
        Which of the networks that ship: the filter of --method matched, or the smaller one
        of --method gumnet.
    steps
        Steps of the training: 400 to tune, which takes some 10 minutes on one core;
        without particles 2100, or 3000 large ones on a GPU.
    minutes
        End after so long whatever steps are left; the step size falls with the time.
    judged_on
        Without particles, what the network that judges poses learns from: the true pose among
        wrong ones, or what the search itself finds.
    both_ways
        Without particles, have that network learn from every pair in both directions, and to
        say the same from both.
    tensorboard
        Write the metrics for TensorBoard too, to OUT/tensorboard; it must be installed.
    resume
        Go on after the last checkpoint of the run in OUT.
    """
    if other is not None and particles is None:
        raise InputError("--other goes with a table of particles", cure="name both, or leave --other out")
    if other is not None and reading.skip_bad:
        raise InputError("--skip-bad would leave out particles of one half alone", cure="leave it out")
    device = common.start()
    from gumnet.model.matched_filter import load_filter
    from gumnet.training.checkpoint import MODEL
    from gumnet.training.contrast_config import ContrastConfig, training_config

    def told(settings: ContrastConfig) -> ContrastConfig:
        count = settings.steps if steps is None else steps
        return replace(settings, seed=common.first_seed, steps=count, minutes=minutes)

    if particles is None:
        from gumnet.training.contrast_loop import train_matched

        begun = None if init is None else load_filter(init)
        # A filter that was trained knows noise already.
        settings = training_config(network, gpu=device.type == "cuda")
        if begun is not None:
            settings = replace(settings, network=begun.config, denoising_steps=0)
        settings = replace(settings, judged_on=judged_on, both_ways=both_ways, consistency=0.1 if both_ways else 0.0)
        train_matched(
            told(settings),
            out,
            init=begun,
            resume=resume,
            overwrite=output.overwrite,
            device=device,
            tensorboard=tensorboard,
        )
    else:
        from gumnet.alignment.matched import as_filter
        from gumnet.model.shipped import shipped_weights
        from gumnet.training.tune import tune_matched, tuning_config

        model = as_filter(shipped_weights(network) if init is None else init)
        data = reading.particles(particles, bad_list_beside(out), overwrite=output.overwrite or resume)
        second = None if other is None else reading.all_particles(other)
        config = told(tuning_config(model))
        found = tune_matched(
            data,
            model,
            out,
            config,
            other=second,
            resume=resume,
            overwrite=output.overwrite,
            tensorboard=tensorboard,
        )
        say(found.in_words())
    say(f"the filter is in {out / MODEL}; to use it: --method {network} --model {out / MODEL}")

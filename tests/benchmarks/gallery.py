"""Faces of the recipe `long` on a real set, after so many minutes.

python tests/benchmarks/gallery.py DATA [--minutes 110] [--threads 1] [--width 32] [--batch 32]
[--r1 16] [--bfloat16] [--name gallery]
-> recorded/gallery_film.png, gallery_faces.png, gallery.gif and .json

DATA is a set as `train --data` takes it. The run is data/runs/gallery. Interrupted, or given more
minutes, it goes on. It trains on a GPU if there is one. There, add `--width 64 --batch 128 --name
gallery_gpu`: the run and the files get this name. `--bfloat16` pays on CPUs that compute in it
(`lscpu` names avx512_bf16 or amx_bf16).
"""

import argparse
import json
import sys
from pathlib import Path

import record
import torch
import torch.nn.functional as F
from PIL import Image

from animegan_helpers import checkpoints, device, metrics, plotting, recipes
from animegan_helpers.dataset import Faces
from animegan_helpers.generator import Generator, sample
from animegan_helpers.images import to_tensor
from animegan_helpers.judge import extract_features, load_judge
from animegan_helpers.prepare import load_faces
from animegan_helpers.rng import rng
from animegan_helpers.runs import sample_grids
from animegan_helpers.speed import Speed
from animegan_helpers.training import train

FRAMES = 24
COUNT = 2000  # faces per number


def animate(grids: list[Image.Image], path: Path) -> None:
    """Sample grids of the same latent vectors -> an animation of their first sixteen faces."""
    frames = []
    for grid in grids:
        two_rows = grid.crop((0, 0, grid.width, 2 * 66 + 2))
        frames.append(two_rows.quantize(128))
    durations = [300] * (len(frames) - 1) + [3000]
    frames[0].save(
        path,
        save_all=True,
        append_images=frames[1:],
        duration=durations,
        loop=0,
        optimize=True,
    )


def compared_count(faces: Faces) -> int:
    """-> the number of faces per number: `COUNT`, or half of a small set."""
    return min(COUNT, len(faces) // 2)


def compared_sets(G: Generator, faces: Faces) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
    """-> real faces (N, 3, 64, 64), at most `COUNT`, and sets of equal size to compare with them.

    These are other real faces, generated ones, and three sets that should be further away.
    """
    rows = torch.randperm(len(faces), generator=rng(0, "rows")).tolist()
    count = compared_count(faces)
    real = to_tensor(faces[rows[:count]])
    other = to_tensor(faces[rows[count : 2 * count]])
    blurred = F.interpolate(F.avg_pool2d(other, 4), scale_factor=4, mode="bilinear")
    noise = 2 * torch.rand(real.shape, generator=rng(0, "noise")) - 1
    sets = {
        "other real faces": other,
        "this run": sample(G, count, 0),
        "real faces, blurred": blurred,
        "synthetic faces": to_tensor(load_faces("drawn")[:count]),
        "noise": noise,
    }
    return real, sets


def distances(real: torch.Tensor, images: torch.Tensor) -> dict[str, float]:
    """Two sets (N, 3, 64, 64) -> FID, KID x 1000 and sliced Wasserstein between them."""
    judge = load_judge()
    real_features = extract_features(judge, real)
    features = extract_features(judge, images)
    mean_kid, _ = metrics.kid(real_features, features, 0)
    return {
        "FID": metrics.fid(real_features, features),
        "KID x 1000": 1000 * mean_kid,
        "sliced Wasserstein": metrics.sliced_wasserstein(real, images, 0),
    }


def measures(G: Generator, faces: Faces) -> dict[str, dict]:
    """-> by the name of a set: FID, KID x 1000 and sliced Wasserstein from real faces."""
    real, sets = compared_sets(G, faces)
    return {name: distances(real, images) for name, images in sets.items()}


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("data")
    parser.add_argument("--minutes", type=float, default=110)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--width", type=int)
    parser.add_argument("--batch", type=int)
    parser.add_argument("--r1", type=float)
    parser.add_argument("--bfloat16", action="store_true")
    parser.add_argument("--name", default="gallery")
    return parser.parse_args()


def main() -> None:
    args = arguments()
    torch.set_num_threads(args.threads)
    torch.set_flush_denormal(True)
    run = device.data_folder() / "runs" / args.name
    faces = load_faces(args.data)
    recipe = recipes.get("long", width=args.width, batch=args.batch, r1=args.r1)
    where = device.pick().device
    speed = Speed(torch.bfloat16) if args.bfloat16 else None
    resume = bool(checkpoints.saved(run))
    trainer = train(
        recipe, faces, run, minutes=args.minutes, device=where, resume=resume, speed=speed
    )
    if trainer.seconds < 60 * args.minutes:
        sys.exit(f"stopped after {trainer.seconds:.0f} s: the same command goes on")
    numbers = measures(trainer.ema_generator(), faces)
    what = f"The recipe long on {len(faces):,} real anime faces"
    if trainer.speed.dtype:
        what += f" in {str(trainer.speed.dtype).removeprefix('torch.')}"
    caption = record.main(run, args.name, what)
    grids, steps = sample_grids(run, FRAMES)
    animate(grids, plotting.RECORDED / f"{args.name}.gif")
    results = {"caption": caption, "faces": compared_count(faces), "measures": numbers}
    results["frames"] = steps
    record.write_json(results, plotting.RECORDED / f"{args.name}.json")
    print(json.dumps(results, indent=1))


if __name__ == "__main__":
    main()

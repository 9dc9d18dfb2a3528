"""The best faces of a real set that this machine makes in the time it is given, by the recipe `long`.

python tests/benchmarks/gallery.py DATA [--minutes 110] [--threads 1]
-> recorded/gallery_film.png, gallery_faces.png, gallery.gif and .json
(DATA: a set as `train --data` takes it; the run is data/runs/gallery; cut off, or given more minutes, it goes on)
"""

import argparse
import json

import record
import torch
import torch.nn.functional as F

from animegan_helpers import checkpoints, device, measure, plotting, preprocess, recipes, training

FRAMES = 24
COUNT = 2000  # faces a number


def film(sheets, path) -> None:
    """Sheets of the same codes -> an animation of the first sixteen faces."""
    frames = [sheet.crop((0, 0, sheet.width, 2 * 66 + 2)).quantize(128) for sheet in sheets]
    times = [300] * (len(frames) - 1) + [3000]
    frames[0].save(path, save_all=True, append_images=frames[1:], duration=times, loop=0, optimize=True)


def measures(G, faces) -> dict[str, dict]:
    """How far from `COUNT` real faces are as many others, what G paints, and what is worse?"""
    judge = measure.load_judge()
    rows = torch.randperm(len(faces), generator=device.generator(0)).tolist()
    real, other = (preprocess.to_tensor(faces[rows[i : i + COUNT]]) for i in (0, COUNT))
    blurred = F.interpolate(F.avg_pool2d(other, 4), scale_factor=4, mode="bilinear")
    drawn = preprocess.to_tensor(preprocess.ready("drawn")[:COUNT])
    noise = 2 * torch.rand(real.shape, generator=device.generator(1)) - 1
    sets = {"other real ones": other, "this run": training.sample(G, COUNT, 0), "real ones, blurred": blurred}
    known, told = measure.features(judge, real), {}
    for name, pictures in (sets | {"drawn faces": drawn, "noise": noise}).items():
        seen = measure.features(judge, pictures)
        told[name] = {"FID": measure.fid(known, seen), "KID x 1000": 1000 * measure.kid(known, seen, 0)[0],
                      "sliced Wasserstein": measure.sliced_wasserstein(real, pictures, 0)}  # fmt: skip
    return told


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data")
    parser.add_argument("--minutes", type=float, default=110)
    parser.add_argument("--threads", type=int, default=1)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    torch.set_flush_denormal(True)
    run = device.data_folder() / "runs" / "gallery"
    faces = preprocess.ready(args.data)
    resume = bool(checkpoints.saved(run))
    game = training.train(recipes.get("long"), faces, run, minutes=args.minutes, resume=resume)
    numbers = measures(game.best_g(), faces)
    caption = record.main(run, "gallery", f"The recipe `long` on {len(faces):,} real anime faces")
    sheets, steps = plotting.sheets(run, FRAMES)
    film(sheets, plotting.RECORDED / "gallery.gif")
    kept = {"caption": caption, "faces": COUNT, "measures": numbers, "frames": steps}
    text = json.dumps(kept, indent=1) + "\n"
    checkpoints.write_whole(plotting.RECORDED / "gallery.json", text.encode())
    print(text)


if __name__ == "__main__":
    main()

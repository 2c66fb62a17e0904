#!/usr/bin/env python3
"""A stand-in for PhoSim: the same arguments, files and habits, with crude pictures.

It reads an instance catalogue and a command file, writes the trimmed catalogue of each chip (two
blank lines first, a blank one after each object) and deletes it before it ends, and leaves
``<instrument>_e_<id>_f<filter>_<chip>_E000.fits.gz`` of 48 x 48 px. Standard library only.
"""

import argparse
import gzip
import math
import os
import random
import struct
import sys
import time

SIZE = 48
SCALE_DEG = 0.263 / 3600.0
CHIPS = {"4S": 0.0, "5S": 60.0 * SCALE_DEG}  # offset of the middle in declination


def read_commands(path):
    commands = {}
    with open(path) as stream:
        for line in stream:
            words = line.split()
            if words:
                commands[words[0]] = words[1:]
    return commands


def read_catalog(path):
    settings, objects = {}, []
    with open(path) as stream:
        for line in stream:
            words = line.split()
            if words and words[0] == "object":
                objects.append(line.strip())
            elif words:
                settings[words[0]] = words[1:]
    return settings, objects


def random_objects(settings, ra, dec):
    """Two stars and two galaxies, each galaxy a bulge and a disk; the same in every band."""
    rng = random.Random(int(settings["seed"][0]))
    limit = float(settings["stars"][1])
    half = 0.4 * SIZE * SCALE_DEG
    lines = []
    for number in range(4):
        x = ra + rng.uniform(-half, half) / math.cos(math.radians(dec))
        y = dec + rng.uniform(-half, half)
        mag = rng.uniform(18.0, limit)
        place = f"{x:.7f} {y:.7f}"
        sed = "../sky/sed_flat.txt 0 0 0 0 0 0"
        if number < 2:
            lines.append(f"object {number}.0 {place} {mag:.4f} {sed} star none none")
        else:
            shape = "0 0 0 1.0 0.1 5 0.05 0.2 30 0.1 0.1 0 none none"
            for part, fainter, size in ((1, 1.0, "0.3 0.3"), (2, 0.0, "0.9 0.6")):
                model = f"{mag + fainter:.4f} {sed} sersicComplex {size} {shape}"
                lines.append(f"object {number}.{part} {place} {model}")
    return lines


def draw(objects, ra, dec):
    pixels = [0.0] * (SIZE * SIZE)
    for line in objects:
        words = line.split()
        dx = -(float(words[2]) - ra) * math.cos(math.radians(dec)) / SCALE_DEG
        dy = (float(words[3]) - dec) / SCALE_DEG
        x0, y0 = dx + SIZE / 2 - 1, dy + SIZE / 2 - 1  # CRPIX = 24
        flux = 10.0 ** (-0.4 * (float(words[4]) - 28.0))
        sigma = 1.2 if words[12] == "star" else 1.2 + float(words[13]) / 0.263
        reach = int(5 * sigma) + 1
        for y in range(max(0, int(y0) - reach), min(SIZE, int(y0) + reach + 1)):
            for x in range(max(0, int(x0) - reach), min(SIZE, int(x0) + reach + 1)):
                light = math.exp(-0.5 * ((x - x0) ** 2 + (y - y0) ** 2) / sigma**2)
                value = flux * light / (2 * math.pi * sigma**2)
                if value >= 0.5:
                    pixels[y * SIZE + x] += round(value)
    return pixels


def card(key, value):
    text = f"'{value:<8s}'" if isinstance(value, str) else f"{repr(value).upper():>20s}"
    return f"{key:<8s}= {text}".ljust(80)


def write_fits(path, pixels, cards):
    header = "".join(
        [f"{'SIMPLE':<8s}= {'T':>20s}".ljust(80), card("BITPIX", -32), card("NAXIS", 2)]
        + [card("NAXIS1", SIZE), card("NAXIS2", SIZE)]
        + [card(key, value) for key, value in cards.items()]
        + ["END".ljust(80)]
    )
    data = struct.pack(f">{len(pixels)}f", *pixels)
    blob = header.ljust(-(-len(header) // 2880) * 2880).encode()
    blob += data.ljust(-(-len(data) // 2880) * 2880, b"\0")
    with gzip.open(path, "wb", compresslevel=1) as stream:
        stream.write(blob)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("catalog")
    for flag, default in (("-c", None), ("-i", "lsst"), ("-t", "1"), ("-e", "1"), ("-o", "output"),
                          ("-w", "work"), ("-s", "all")):  # fmt: skip
        parser.add_argument(flag, default=default)
    args = parser.parse_args()
    with open(os.path.join(os.path.dirname(os.path.abspath(__file__)), "calls.txt"), "a") as calls:
        calls.write(" ".join(sys.argv[1:]) + "\n")
    settings, objects = read_catalog(args.catalog)
    commands = read_commands(args.c)
    if os.environ.get("STAND_IN_FAILS", "never") in args.catalog:
        sys.exit("Error: cannot find the sky")
    ra, dec = float(settings["rightascension"][0]), float(settings["declination"][0])
    is_field = "stars" in settings
    if is_field:
        objects = random_objects(settings, ra, dec)
    obsid, number = settings["obshistid"][0], int(settings["filter"][0])
    for chip in CHIPS if args.s == "all" else args.s.split("|"):
        if chip not in CHIPS:
            continue
        trimmed = os.path.join(args.w, f"trimcatalog_{obsid}_{chip}.pars")
        with open(trimmed, "w") as stream:
            stream.write("\n\n" + "".join(line + "\n\n" for line in objects))
        pixels = draw(objects, ra, dec + CHIPS[chip])
        time.sleep(0.15 if is_field else 0.0)
        os.remove(trimmed)
        if not is_field and not any(pixels):
            continue
        if commands.get("backgroundmode") != ["0"]:
            rng = random.Random(f"{settings['seed'][0]}{chip}{number}")
            pixels = [float(max(0, round(p + rng.gauss(50.0, 7.0)))) for p in pixels]
        cards = {"CTYPE1": "RA---TAN", "CRPIX1": SIZE / 2, "CRVAL1": ra, "CTYPE2": "DEC--TAN",
                 "CRPIX2": SIZE / 2, "CRVAL2": dec + CHIPS[chip], "CD1_1": -SCALE_DEG,
                 "CD1_2": 0.0, "CD2_1": 0.0, "CD2_2": SCALE_DEG, "OBSID": obsid,
                 "EXPTIME": float(settings["vistime"][0]), "FILTNM": number, "FILTER": "H  )",
                 "SEED": int(settings["seed"][0]), "CHIPID": chip, "WELDPT": 180000,
                 "CREATOR": "PHOSIM", "VERSION": "stand-in"}  # fmt: skip
        cards |= {f"PHOV{i}": " ".join([k, *v]) for i, (k, v) in enumerate(commands.items())}
        name = f"{args.i}_e_{obsid}_f{number}_{chip}_E000.fits.gz"
        write_fits(os.path.join(args.o, name), pixels, cards)
    print("PhoSim stand-in: done")


if __name__ == "__main__":
    main()

"""Makes digits.bin from the digits that scikit-learn ships.

The data are in this repository so that the quickstart needs no network; this script says where they come from and
lets anyone make the file again, byte for byte:

    pip download --no-deps --dest wheel scikit-learn
    python make.py wheel/scikit_learn-*.whl

Pixels are whole numbers from 0 to 16, so five bits hold one, and five bytes hold a row of eight. ../digits.mjs reads
what is written here.
"""

import gzip
import hashlib
import sys
import zipfile
from pathlib import Path

MEMBER = 'sklearn/datasets/data/digits.csv.gz'
SHA256 = '09f66e6debdee2cd2b5ae59e0d6abbb73fc2b0e0185d2e1957e9ebb51e23aa22'  # of MEMBER
SIDE = 8
BITS = 5


def pack_row(pixels):
    """Eight pixels in five bytes, the first pixel in the lowest bits."""
    word = sum(pixel << (BITS * i) for i, pixel in enumerate(pixels))
    return word.to_bytes(BITS * SIDE // 8, 'little')


def pack_image(line):
    """A line of the CSV, 64 pixels and the label, as 40 bytes and one."""
    *pixels, label = map(int, line.split(','))
    rows = (pixels[i:i + SIDE] for i in range(0, SIDE * SIDE, SIDE))
    return b''.join(map(pack_row, rows)) + bytes([label])


def main(wheel):
    compressed = zipfile.ZipFile(wheel).read(MEMBER)
    if hashlib.sha256(compressed).hexdigest() != SHA256:
        sys.exit(f'{MEMBER} in {wheel} is not the file that digits.bin was made from')
    lines = gzip.decompress(compressed).decode('ascii').split()
    target = Path(__file__).with_name('digits.bin')
    target.write_bytes(b''.join(map(pack_image, lines)))
    print(f'{len(lines)} images, {target.stat().st_size} bytes in {target.name}')


if __name__ == '__main__':
    main(*sys.argv[1:])

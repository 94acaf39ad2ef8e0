"""Draw a small detection dataset in COCO format: circles, squares and triangles on noise.

    python tools/demo/shapes_dataset.py data/shapes

writes ``annotations/{train,val}.json`` and ``{train,val}/*.png``. The same arguments give the same
pixels and annotations, byte for byte.
"""

from mmdet_detnet.cli import make_parser
from mmdet_detnet.data.drawn_shapes import generate_shapes


def main() -> None:
    """Run the command line."""
    parser = make_parser(__doc__)
    parser.add_argument('root', help='folder of the dataset, such as data/shapes')
    parser.add_argument('--num-train', type=int, default=400, help='number of training images')
    parser.add_argument('--num-val', type=int, default=100, help='number of validation images')
    parser.add_argument('--seed', type=int, default=0, help='seed of all random choices')
    args = parser.parse_args()
    try:
        root = generate_shapes(**vars(args))
    except (FileExistsError, ValueError) as error:
        parser.exit(1, f'{error}\n')
    print(f'{root}: {args.num_train} training and {args.num_val} validation images')


if __name__ == '__main__':
    main()

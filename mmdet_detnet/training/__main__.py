"""One rank of ``mmdet-detnet train --gpus N``."""

from .launch import train

if __name__ == '__main__':
    train()

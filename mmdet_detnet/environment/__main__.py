"""``python -m mmdet_detnet.environment``: what is installed, and which operators are in use."""

from .report import describe_environment

if __name__ == '__main__':
    print(describe_environment())

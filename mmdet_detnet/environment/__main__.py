"""``python -m mmdet_detnet.environment``: installed versions and the operators in use."""

from .report import describe_environment

if __name__ == '__main__':
    print(describe_environment())

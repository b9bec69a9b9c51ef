"""Run the command line as `python -m maou`."""

from maou.cli.main import main

if __name__ == "__main__":
    main()

"""Internal: `python -m negspace`: the command line, where the command `negspace` is not on the path."""

from negspace.cli import main

if __name__ == "__main__":
    main()

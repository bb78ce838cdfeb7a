"""`python -m hpcharvest`: the command line."""

from hpcharvest.cli.main import main

if __name__ == "__main__":
    main()

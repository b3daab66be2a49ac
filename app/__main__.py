"""`python -m app` is `hullspeed`."""

from app.cli.root import main

if __name__ == "__main__":
    main()

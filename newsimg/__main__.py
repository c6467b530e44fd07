"""The command line as a module: `python -m newsimg`."""

from newsimg.run import main

if __name__ == "__main__":
    main()

"""The command line. One module per noun; ``main`` loads only the one that is asked for."""

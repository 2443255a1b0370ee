"""The composition root: settings in, running parts out. One parts list for each kind of process."""

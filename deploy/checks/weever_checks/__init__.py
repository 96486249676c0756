"""Checks of what starts Weever: each file is read by the program that will read it, and what it starts is started."""

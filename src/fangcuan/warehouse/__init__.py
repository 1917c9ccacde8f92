"""The lake and the engines that read it."""

"""`python -m fangcuan`."""

from fangcuan.cli.main import main

main()

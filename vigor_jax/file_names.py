"""Which names, taken from a label file or a config, may become part of a path."""

_LONGEST = 255  # bytes: what the common file systems take


def is_plain(name: str) -> bool:
    """Whether a name denotes one entry of the folder it is joined to, on any system, and prints as it is.

    Not so names with separators of either kind, hidden ones, `..`, names of control characters, blanks other than
    inner spaces or invisible characters (among them the byte order mark), and names longer than file systems take.
    """
    return (
        bool(name)
        and not name.startswith(".")
        and name == name.strip()
        and name.isprintable()
        and not set(name) & set("/\\")
        and len(name.encode(errors="surrogatepass")) <= _LONGEST
    )

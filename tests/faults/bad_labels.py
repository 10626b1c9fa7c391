"""Label files that are wrong: each function damages one and returns what must be said."""

from tests.faults.raw_city import RawCity


def a_column_short(city: RawCity) -> tuple[str, ...]:
    """12 columns where there are 13."""
    where = city.edit_line(city.labels, 2, lambda line: line.rsplit(" ", 1)[0])
    return f"{where}: 12 columns, expected 13", "mend the line"


def swapped(city: RawCity) -> tuple[str, ...]:
    """Latitude and longitude of a panorama exchanged; the image's name with them."""

    def exchange(line: str) -> str:
        name, rest = line.split(" ", 1)
        identity, lat, lon, end = name.split(",")
        return f"{identity},{lon},{lat},{end} {rest}"

    where = city.edit_line(city.labels, 3, exchange)
    return where, "swapped", "Mend"


def unknown_tile(city: RawCity) -> tuple[str, ...]:
    """A tile that the city's list lacks."""
    where = city.edit_line(city.labels, 1, lambda line: line.replace("satellite_47", "satellite_46", 1))
    return where, "satellite_46", "extract both again"


def elsewhere(city: RawCity) -> tuple[str, ...]:
    """A name that leaves the folder of images."""
    where = city.edit_line(city.labels, 4, lambda line: f"../../{line}")
    return where, "is not a panorama's name", "Mend the line"


def twice(city: RawCity) -> tuple[str, ...]:
    """The same panorama in two lines."""
    first = city.labels.read_text().split("\n")[0]
    where = city.edit_line(city.labels, 2, lambda line: first)
    return where, "already stands in", "Delete one"


def far_off(city: RawCity) -> tuple[str, ...]:
    """A panorama a kilometre from its tiles."""

    def move(line: str) -> str:
        name, rest = line.split(" ", 1)
        identity, lat, lon, end = name.split(",")
        return f"{identity},{float(lat) + 0.01:.6f},{lon},{end} {rest}"

    where = city.edit_line(city.labels, 5, move)
    return where, "m from the centre of its positive", "Mend"


def no_list(city: RawCity) -> tuple[str, ...]:
    """The city's list of tiles is not there."""
    city.tile_list.unlink()
    return str(city.root), "splits/<City>/satellite_list.txt", "--config.data.root="

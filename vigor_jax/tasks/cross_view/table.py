"""The row of a split in the epoch table: its recalls beside what they must be compared to."""

from vigor_jax.tasks.cross_view.baselines import BASELINES


def row(split: str, metrics: dict[str, float]) -> dict[str, str]:
    """Column to text, in percent."""

    def percent(name: str, digits: int = 1) -> str:
        return f"{100 * metrics[f'{split}/{name}']:.{digits}f}"

    def colour(metric: str) -> str:
        return f"{100 * max(metrics[f'{split}/{baseline}_{metric}'] for baseline in BASELINES):.1f}"

    return {
        "top-1%": percent("top1_percent"),
        "top-1": percent("top1"),
        "top-5": percent("top5"),
        "top-10": percent("top10"),
        "hit rate": percent("hit_rate"),
        "gallery": f"{metrics[f'{split}/gallery']:.0f}",
        "chance@1": percent("chance_top1", 2),
        "chance@5": percent("chance_top5", 2),
        "colour@1": colour("top1"),
        "colour@5": colour("top5"),
    }

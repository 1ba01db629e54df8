"""The HTML report: one file that needs nothing else, for people.

`render` puts the page together; `page_data` says what is in it. Style, script and frame are the files beside this one.
"""

from mge_ray.pipeline.html_report.page_data import page_data
from mge_ray.pipeline.html_report.render import render

__all__ = ["page_data", "render"]

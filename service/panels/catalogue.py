"""All dashboards, in the order in which they are read."""

from service.panels.economics import ECONOMICS
from service.panels.engines import ENGINES
from service.panels.memory import MEMORY
from service.panels.overview import OVERVIEW
from service.panels.panel import Dashboard

DASHBOARDS: tuple[Dashboard, ...] = (OVERVIEW, ECONOMICS, ENGINES, MEMORY)

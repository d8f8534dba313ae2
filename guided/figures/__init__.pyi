from .grids import labelled_rows as labelled_rows, sheet_figure as sheet_figure
from .traversals import (
    augmentation_figure as augmentation_figure,
    picture_figures as picture_figures,
    prior_samples as prior_samples,
    reconstructions as reconstructions,
    traversal_figures as traversal_figures,
)

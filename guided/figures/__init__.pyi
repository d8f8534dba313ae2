from .augmentation import augmentation_figure as augmentation_figure
from .deformations import deformations_figure as deformations_figure
from .grids import labelled_rows as labelled_rows, sheet_figure as sheet_figure, spaced as spaced
from .model import (
    log_inputs as log_inputs,
    log_pictures as log_pictures,
    log_progress as log_progress,
    picture_figures as picture_figures,
    save_sheets as save_sheets,
    traversal_figures as traversal_figures,
)
from .reconstructions import (
    reconstructed as reconstructed,
    reconstruction_figure as reconstruction_figure,
)
from .sheets import Sheet as Sheet
from .traversals import (
    rows_of_latents as rows_of_latents,
    spread as spread,
    traversal as traversal,
    traversal_along as traversal_along,
    traversal_figure as traversal_figure,
)

"""`sml-jax report`: what one or more runs wrote, as one HTML file that a browser opens from disk.

It reads the files of a run's folder and knows nothing of how they were made. Python draws the plots and packs the
dialogues; `assets/` holds the page's template, style and script.
"""

"""The things that stand in a scene, a module for each family of them.

`trees`, `buildings`, `travellers` (boats, birds, balloons), `stems` (plants and flowers),
`tiling`, `circles` and `streams` (what is abstract), `planets`, `people`, and `foreground` (what
stands before everything else). Each figure is a function that gives a layer or layers; positions
and sizes are pixels of the canvas unless the name of an argument says otherwise.
"""

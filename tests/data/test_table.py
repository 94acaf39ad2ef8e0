"""CSV: headers, separators, encodings and units of tables as tools write them."""

import json

import pytest
from folders import CAT, boxes, problems, read, write_csv, write_image, write_text

VIA_HEADER = 'filename,file_size,region_shape_attributes,region_attributes\n'


def via_row(shape, attributes):
    texts = (json.dumps(each).replace('"', '""') for each in (shape, attributes))
    return 'a.png,1,"{}","{}"\n'.format(*texts)


TABLES = {
    'names with underscores': 'image_id,x_min,y_min,x_max,y_max,label\na.png,10,20,40,60,cat\n',
    'sizes': 'path,x,y,w,h,class name\nold/a.png,10,20,30,40,cat\n',
    'bbox': 'image,bbox,category\na.png,"[10, 20, 30, 40]",cat\n',
    'left and top': 'Filename,Left,Top,Width,Height,Class\na.png,10,20,30,40,cat\n',
    'centers': 'image,x_center,y_center,width,height,class\na.png,25,40,30,40,cat\n',
    'centers, and the size of the image': 'image,width,height,cx,cy,w,h,class\n'
    'a.png,100,80,25,40,30,40,cat\n',
    'prefixes, and the size of the image': 'image,width,height,bbox_x,bbox_y,bbox_width,'
    'bbox_height,class\na.png,100,80,10,20,30,40,cat\n',
    'Open Images': 'ImageID,LabelName,XMin,XMax,YMin,YMax\na,cat,0.1,0.4,0.25,0.75\n',
    'fractions above 1': 'image,xmin,ymin,xmax,ymax,class\na,.1,.25,.4,.75,cat\n'
    'b,0.5,0.5,1.0002,1,cat\n',
    'Udacity': 'frame,xmin,xmax,ymin,ymax,class_id\na.png,10,40,20,60,cat\n',
    'keras-retinanet': 'a.png,10,20,40,60,cat\nb.png,,,,,\n',
    'keras-retinanet, background first': 'b.png,,,,,\na.png,10,20,40,60,cat\n',
    'SKU-110K': 'a.png,10,20,40,60,cat,100,80\n',
    'AutoML': 'TRAIN,gs://my/a.png,cat,0.1,0.25,,,0.4,0.75,,\nTEST,gs://my/b.png' + ',' * 9 + '\n',
    'AutoML without splits': 'gs://my/a.png,cat,0.1,0.25,0.4,0.25,0.4,0.75,0.1,0.75\n',
    'semicolons': 'Filename;Roi.X1;Roi.Y1;Roi.X2;Roi.Y2;Class\na.png;10;20;40;60;cat\n',
    'decimal commas': 'filename;xmin;ymin;xmax;ymax;class\na.png;10,0;20,0;40,0;60,0;cat\n',
    'tabs': 'filename\txmin\tymin\txmax\tymax\tclass\na.png\t10\t20\t40\t60\tcat\n',
    'VIA': VIA_HEADER
    + via_row({'name': 'rect', 'x': 10, 'y': 20, 'width': 30, 'height': 40}, {'type': 'cat'}),
    'VIA, polygon and checkbox': VIA_HEADER
    + via_row(
        {'name': 'polygon', 'all_points_x': [10, 40, 40], 'all_points_y': [20, 20, 60]},
        {'colour': 'red', 'class': {'cat': True, 'dog': False}},
    ),
}


def read_table(folder, table, encoding='utf-8'):
    for name in ('a.png', 'b.png'):
        write_image(folder / name)
    write_text(folder / 'boxes.csv', table, encoding)
    return read(folder)


@pytest.mark.parametrize('kind', TABLES)
def test_table_is_read(kind, tmp_path):
    assert boxes(read_table(tmp_path, TABLES[kind]))['a.png'] == [CAT]


@pytest.mark.parametrize('encoding', ['utf-8-sig', 'utf-16', 'latin-1'])
def test_encoding_is_found_or_said(encoding, tmp_path):
    table = 'filename,xmin,ymin,xmax,ymax,class\na.png,10,20,40,60,Käfer\n'
    labeled = read_table(tmp_path, table, encoding)
    assert labeled.all_classes() == ['Käfer']
    assert ('not-utf-8' in problems(labeled)) == (encoding == 'latin-1')


def test_fractions_beyond_the_border_are_clipped_and_said(tmp_path):
    labeled = read_table(tmp_path, TABLES['fractions above 1'])
    assert boxes(labeled)['b.png'] == [('cat', (50, 40, 50, 40))]
    assert problems(labeled)['fraction-clipped'].count == 1


def test_rows_without_a_class_are_objects(tmp_path):
    labeled = read_table(tmp_path, 'image_id,bbox,source\na,"[10, 20, 30, 40]",arvalis\n')
    assert boxes(labeled)['a.png'] == [('object', CAT[1])]
    assert problems(labeled)['table-without-class'].examples == [
        "boxes.csv (other columns: ['source'])"
    ]


@pytest.mark.parametrize('header', ['class', 'ClassId', 'category_id'])
def test_numbers_of_classes_without_names_are_the_names(header, tmp_path):
    table = f'image,x1,y1,x2,y2,{header}\na.png,10,20,40,60,7\nb.png,10,20,40,60,12\n'
    labeled = read_table(tmp_path, table)
    assert labeled.all_classes() == ['12', '7']
    assert problems(labeled)['class-id-as-name'].count == 2


@pytest.mark.parametrize(
    ('names', 'text'),
    [
        ('classes.txt', 'dog\ncat\n'),
        ('data.yaml', 'names: {0: dog, 1: cat}'),
        ('names.csv', 'id,name\n1,cat\n0,dog\n'),
        ('names.csv', 'cat,1\ndog,0\n'),
    ],
)
def test_numbers_of_classes_get_the_nearest_names(names, text, tmp_path):
    write_text(tmp_path / names, text)
    labeled = read_table(tmp_path, 'image,x1,y1,x2,y2,class\na.png,10,20,40,60,1\n')
    assert boxes(labeled)['a.png'] == [CAT]
    assert problems(labeled).keys() == {'image-not-annotated'}


def test_ids_of_open_images_get_their_names_and_groups_are_crowds(tmp_path):
    write_text(tmp_path / 'class-descriptions.csv', '/m/01yrx,Cat\n/m/0bt9lr,Dog\n')
    table = (
        'ImageID,LabelName,XMin,XMax,YMin,YMax,IsGroupOf\n'
        'a,/m/01yrx,0.1,0.4,0.25,0.75,0\na,/m/0bt9lr,0.1,0.4,0.25,0.75,1\n'
    )
    found = read_table(tmp_path, table).images[0].boxes
    assert [(box.label, box.is_crowd) for box in found] == [('Cat', False), ('Dog', True)]


@pytest.mark.parametrize('number', ['ten', 'nan', ''])
def test_wrong_number_is_an_error(number, tmp_path):
    write_csv(tmp_path)
    table = tmp_path / 'boxes.csv'
    table.write_text(table.read_text().replace(',10,20,', f',{number},20,'))
    with pytest.raises(ValueError, match=rf"boxes\.csv, line 2: .*'{number}'"):
        read(tmp_path)


def test_ambiguous_class_of_via_is_an_error(tmp_path):
    shape = {'name': 'rect', 'x': 10, 'y': 20, 'width': 30, 'height': 40}
    with pytest.raises(ValueError, match=r'line 2: .*none of the attributes'):
        read_table(tmp_path, VIA_HEADER + via_row(shape, {'colour': 'red', 'size': 'small'}))


def test_column_is_the_split(tmp_path):
    labeled = read_table(tmp_path, 'image,bbox,class,split\na,"[1, 1, 5, 5]",cat,valid\n')
    assert labeled.images[0].split == 'val'
